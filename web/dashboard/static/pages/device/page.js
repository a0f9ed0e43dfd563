// A device that asks for access shows a code: what it would be able to do, in which team, and whether it may.
import { createAction, createForm, empty, field, here, href, html, icon, nothing, request, signal, submitButton, time } from "../../kit.js";
import { SCOPES } from "../keys/scopes.js";

const PATH = "/v1/me/device";

export function open() {
  /** @type {{value: any, peek(): any}} */
  const device = signal(null);
  const team = signal("");
  const decided = signal("");
  const form = createForm(async ({ userCode }) => {
    const answer = await request({ method: "POST", path: `${PATH}/find`, body: { userCode } });
    device.value = answer.device;
    team.value = answer.device.teams[0]?.id ?? "";
  });
  /** @param {string} verb @param {object} more */
  const send = (verb, more) => request({ method: "POST", path: `${PATH}/${verb}`, body: { userCode: device.peek().userCode, ...more } });
  // Whoever is signed in decides, whatever their role: what they give is no more than what they may.
  const allow = createAction({
    label: "Allow it",
    icon: "circle-check",
    scope: "viewer",
    done: "Allowed",
    async act() {
      await send("approve", { teamId: team.peek() });
      decided.value = "It has access now. Go back to the device. You can withdraw it among your grants.";
    },
  });
  const refuse = createAction({
    label: "Refuse",
    icon: "ban",
    scope: "viewer",
    done: "Refused",
    danger: true,
    async act() {
      await send("deny", {});
      decided.value = "It was refused, and got nothing.";
    },
  });

  const question = () => {
    const { appName, userCode, environment, askedAt, expiresAt, teams } = device.value;
    const chosen = teams.find(({ id }) => id === team.value);
    return html`<h2>${appName} asks for access</h2>
      <p class="sentence">It shows <strong>${userCode}</strong>. If the device before you shows another code, or you did not begin this, refuse.</p>
      <p>Asked ${time(askedAt)}; you can decide until ${time(expiresAt)}.</p>
      ${chosen
        ? html`<div class="field">
              <label for="team">In the team</label>
              <select id="team" @change=${(event) => (team.value = event.target.value)}>
                ${teams.map(({ id, name, role }) => html`<option value=${id} .selected=${id === team.value}>${name} (you are ${role})</option>`)}
              </select>
            </div>
            <p>There, in ${environment}, it will be able to:</p>
            <ul>${chosen.scopes.map((scope) => html`<li><code>${scope}</code>: ${SCOPES.find(([name]) => name === scope)?.[1] ?? nothing}</li>`)}</ul>
            <p class="fine">Never more than you may at the time.</p>
            <p class="actions">${allow.view()} ${refuse.view()}</p>`
        : html`${empty("You belong to no team in which you could let it do any of what it asks for")}<p class="actions">${refuse.view()}</p>`}
      ${allow.problem()} ${refuse.problem()}`;
  };

  return {
    title: "A device",
    requests: () => [{ method: "POST", path: `${PATH}/find`, body: { userCode: device.value?.userCode ?? "WDJB-MJHT" } }],
    view: () => html`<h1>Let a device in</h1>
      ${decided.value
        ? html`<p class="notice" role="status">${decided.value}</p><p><a href=${href("/apps")}>Your grants</a></p>`
        : device.value
          ? question()
          : html`<p>A program on another device, such as a terminal, asks for access and shows a code.</p>
              <form @submit=${form.submit}>
                ${form.problem(["userCode"])}
                ${field(form, { name: "userCode", label: "Code that the device shows", value: here().query.get("code") ?? "", hint: "Eight letters, such as WDJB-MJHT." })}
                <p class="actions">${submitButton(form, "See what it asks for")}</p>
              </form>`}
      ${device.value && !decided.value ? html`<p><button type="button" class="quiet" @click=${() => (device.value = null)}>${icon("undo-2")}Another code</button></p>` : nothing}`,
  };
}
