// Which environment something is made for: the one that is looked at, unless it is chosen otherwise.
import { environment } from "../core/team.js";
import { html } from "./lit.js";

/** @param {string} [chosen] */
export const environmentField = (chosen = environment()) => html`<div class="field">
  <label for="environment">Environment</label>
  <select id="environment" name="environment">
    <option .selected=${chosen === "live"}>live</option>
    <option .selected=${chosen === "test"}>test</option>
  </select>
</div>`;
