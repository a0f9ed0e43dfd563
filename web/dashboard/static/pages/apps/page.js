// Applications of the team that act for people or for themselves, and what the signed-in person has granted to whom.
import { html, nothing, repeat } from "../../ui/lit.js";
import { signal } from "../../vendor/signals-core/signals-core.js";
import { request } from "../../core/api.js";
import { href } from "../../core/location.js";
import { session } from "../../core/session.js";
import { currentTeam, whyNot } from "../../core/team.js";
import { copyButton } from "../../ui/copy.js";
import { icon } from "../../ui/icon.js";
import { createInventory, rowButton } from "../../ui/inventory.js";
import { empty } from "../../ui/state.js";
import { table } from "../../ui/table.js";
import { time } from "../../ui/time.js";
import { counted } from "../../ui/words.js";
import { createAppFields, NAMES, secretDialog } from "./form.js";

const ROLE = "admin";
const GRANTS = "/v1/me/grants";

export function open() {
  const barred = whyNot(ROLE);
  const apps = barred ? null : createApps();
  const grants = createGrants();
  return {
    title: "Apps",
    requests: () => [...(apps ? [{ method: "GET", path: apps.path }] : []), { method: "GET", path: GRANTS }],
    actions: () => (apps ? [["Register an application", apps.register, "plus"]] : []),
    view: () => html`<div class="title">
        <h1>Apps</h1>
        <button type="button" class="primary" ?disabled=${barred !== ""} @click=${() => apps?.register()}>${icon("plus")}Register an application</button>
      </div>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      ${apps ? apps.view() : empty("Applications of the team are for admins and owners")}
      <h2>Your grants</h2>
      ${grants.view()}`,
    dispose() {
      apps?.dispose();
      grants.dispose();
    },
  };
}

function createApps() {
  const path = `/teams/${currentTeam()?.id}/apps`;
  /** The application whose secret is shown. @type {{value: {app: any, isStored: boolean} | null, peek(): {app: any, isStored: boolean} | null}} */
  const shown = signal(null);
  const list = createInventory({ page: "/apps", path: () => path, rowsOf: ({ apps }) => apps, types: ["app."], noun: "application", rarer: 3 });
  const show = (app) => {
    if (app.clientSecret) shown.value = { app, isStored: false };
  };
  const tell = {
    stored(isStored) {
      const now = shown.peek();
      if (now) shown.value = { ...now, isStored };
    },
    close() {
      const now = shown.peek();
      if (!now?.isStored) return;
      // Drawn once more without the secret, so that no element that anything still holds has it.
      shown.value = { app: { ...now.app, clientSecret: "" }, isStored: true };
      shown.value = null;
    },
  };
  const register = () => {
    const fields = createAppFields();
    list.fill({
      title: "Register an application",
      label: "Register it",
      names: NAMES,
      fields: fields.view,
      async send(values, element) {
        const { app } = await request({ method: "POST", path, body: fields.wanted(values, element) });
        show(app);
      },
    });
  };
  const change = (app) => {
    const fields = createAppFields(app);
    list.fill({
      title: `Change ${app.name}`,
      label: "Change it",
      names: NAMES,
      fields: fields.view,
      send: (values, element) => request({ method: "PATCH", path: `${path}/${app.id}`, body: fields.wanted(values, element) }),
    });
  };
  const renew = (app) =>
    list.ask({
      title: `A new secret for ${app.name}?`,
      body: html`<p>The present one is refused at once; tokens stay valid.</p>`,
      label: "Give it a new secret",
      shape: "rotate-ccw",
      scope: ROLE,
      act: async () => show((await request({ method: "POST", path: `${path}/${app.id}/secret` })).app),
    });
  const remove = (app) =>
    list.ask({
      title: `Remove ${app.name}?`,
      body: html`<p>It ends, and with it every token and grant that it has. This cannot be taken back.</p>`,
      label: "Remove it",
      shape: "trash-2",
      scope: ROLE,
      act: () => request({ method: "DELETE", path: `${path}/${app.id}` }),
    });

  /** @param {any} app */
  const row = (app) => html`<tr data-row=${app.id}>
    <th scope="row"><a class="row-link" href=${href("/activity", { target: app.id })} title="What was done to it">${app.name}</a></th>
    <td><code title=${app.id}>…${app.id.slice(-8)}</code> ${copyButton(app.id, `client_id of ${app.name}`)}</td>
    <td>${app.type}</td>
    <td>${app.environment}</td>
    <td>${app.redirectUris.length > 0 ? app.redirectUris.map((uri) => html`<code>${uri}</code><br />`) : "none: acts for itself"}</td>
    <td><span title=${app.scopes.join(", ")}>${counted(app.scopes.length, "scope")}</span></td>
    <td>${time(app.createdAt)}</td>
    <td>
      ${rowButton("pencil", "Change", app.name, ROLE, () => change(app))}
      ${app.type === "confidential" ? rowButton("rotate-ccw", "New secret", `for ${app.name}`, ROLE, () => renew(app)) : nothing}
      ${rowButton("trash-2", "Remove", app.name, ROLE, () => remove(app))}
    </td>
  </tr>`;

  return {
    path,
    register,
    view: () => html`${list.view((rows) =>
      rows.length > 0
        ? html`${table("Applications", ["Name", "Client id", "Kind", "Environment", "Redirect URIs", "At most", "Registered", "Actions"], repeat(rows, ({ id }) => id, row), ", oldest first")}
            <p class="fine">Who granted them what, and who withdrew it: <a href=${href("/activity", { type: "grant." })}>the grants in the activity</a>.</p>`
        : empty("No application is registered", html`<p>One asks people for access to the team by OAuth, or acts for itself with its secret.</p>`),
    )}
    ${shown.value ? secretDialog(shown.value.app, shown.value.isStored, tell) : nothing}`,
    dispose() {
      shown.value = null;
      list.dispose();
    },
  };
}

function createGrants() {
  const list = createInventory({ page: "/apps", path: () => GRANTS, rowsOf: ({ grants }) => grants, types: ["grant."], noun: "grant", rarer: 3 });
  const withdraw = (grant) =>
    list.ask({
      title: `Withdraw the access of ${grant.appName}?`,
      body: html`<p>Its tokens are refused from then on. To come back it has to ask you again.</p>`,
      label: "Withdraw it",
      shape: "ban",
      // Whoever gave it may, whatever their role.
      scope: "viewer",
      act: () => request({ method: "DELETE", path: `${GRANTS}/${grant.id}` }),
    });
  const teamName = (id) => session().me?.teams.find((team) => team.id === id)?.name ?? id;

  /** @param {any} grant */
  const row = (grant) => html`<tr data-row=${grant.id}>
    <th scope="row"><a class="row-link" href=${href("/activity", { type: "grant." })} title="Grants in the activity">${grant.appName}</a></th>
    <td>${teamName(grant.teamId)}, ${grant.environment}</td>
    <td class="wide">${grant.scopes.join(", ")}</td>
    <td>${time(grant.givenAt)}</td>
    <td>${time(grant.lastUsedAt)}</td>
    <td>${time(grant.expiresAt)}</td>
    <td>${rowButton("ban", "Withdraw", grant.appName, "", () => withdraw(grant))}</td>
  </tr>`;

  return {
    view: () =>
      list.view((rows) =>
        rows.length > 0
          ? table("Your grants", ["Application", "Team", "It may", "Given", "Last used", "Ends unless used", "Actions"], repeat(rows, ({ id }) => id, row), ", newest first")
          : empty("You gave no application access", html`<p>What you allow one on a consent page appears here.</p>`),
      ),
    dispose: list.dispose,
  };
}
