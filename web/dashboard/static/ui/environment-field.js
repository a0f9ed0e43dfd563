// Which environment something is made for: the one that is looked at, unless it is chosen otherwise.
import { environment } from "../core/team.js";
import { html } from "./lit.js";

export const environmentField = () => html`<div class="field">
  <label for="environment">Environment</label>
  <select id="environment" name="environment">
    <option .selected=${environment() === "live"}>live</option>
    <option .selected=${environment() === "test"}>test</option>
  </select>
</div>`;
