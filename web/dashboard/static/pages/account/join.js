// Joining a team, with the token of an invitation.
import { html } from "../../ui/lit.js";
import { request } from "../../core/api.js";
import { go } from "../../core/location.js";
import { readMe } from "../../core/session.js";
import { teamAddress } from "../../core/team.js";
import { createForm, field, submitButton } from "../../ui/form.js";
import { tokenOfLetter } from "./letter.js";

export function open() {
  const token = tokenOfLetter();
  const form = createForm(async ({ token: given }) => {
    const { team } = await request({ method: "POST", path: "/v1/invitations/accept", body: { token: given.trim() } });
    await readMe();
    go(teamAddress(team.id), { replace: true });
  });
  return {
    title: "Join a team",
    view: () => html`<h1>Join a team</h1>
      <form @submit=${form.submit}>
        ${form.problem(["token"])} ${field(form, { name: "token", label: "Token of the invitation", value: token })}
        <p class="actions">${submitButton(form, "Join")}</p>
      </form>`,
  };
}
