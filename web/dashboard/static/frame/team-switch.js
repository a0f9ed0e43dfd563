// Which team and which environment the pages are about.
import { html, nothing } from "../ui/lit.js";
import { go, href } from "../core/location.js";
import { lastTeam } from "../core/settings.js";
import { session } from "../core/session.js";
import { currentTeam, environment, teamAddress } from "../core/team.js";

const NEW = "new";

function chosen(event) {
  const id = event.target.value;
  if (id === NEW) {
    go(href("/teams/new"));
    return;
  }
  lastTeam.set(id);
  go(teamAddress(id));
}

/** The page that is seen, for the other environment: what is filtered there is not what is filtered here. */
function switched(event) {
  go(href("/", { env: event.target.value === "test" ? "test" : undefined }));
}

export function teamSwitch() {
  const teams = session().me?.teams ?? [];
  const team = currentTeam();
  if (!team) return nothing;
  return html`<div class="team">
    <label
      ><span class="unseen">Team</span>
      <select @change=${chosen}>
        ${teams.map(({ id, name, role }) => html`<option value=${id} .selected=${id === team.id}>${name} (${role})</option>`)}
        <option value=${NEW}>New team…</option>
      </select></label
    >
    <label
      ><span class="unseen">Environment</span>
      <select @change=${switched}>
        <option value="live" .selected=${environment() === "live"}>live</option>
        <option value="test" .selected=${environment() === "test"}>test</option>
      </select></label
    >
  </div>`;
}
