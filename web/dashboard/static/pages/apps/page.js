// Applications of the team that act for people or for themselves, and what the signed-in person has granted to whom.
import {
  copyButton, counted, createInventory, currentTeam, empty, href, html, icon, nothing, repeat, request, rowButton, session, signal, table, time,
  whyNot,
} from "../../kit.js";
import { createAppFields, NAMES, secretDialog } from "./form.js";

const ROLE = "admin";
const GRANTS = "/v1/me/grants";
const GIVEN = ["Given", "Last used", "Ends unless used"];

export function open() {
  const barred = whyNot(ROLE);
  const apps = barred ? null : createApps();
  const access = barred ? null : createAccess();
  const grants = createGrants(() => access?.reload());
  return {
    title: "Apps",
    requests: () => [apps?.path, access?.path, GRANTS].filter(Boolean).map((path) => ({ method: "GET", path })),
    actions: () => (apps ? [["Register an application", apps.register, "plus"]] : []),
    view: () => html`<div class="title">
        <h1>Apps</h1>
        <button type="button" class="primary" ?disabled=${barred !== ""} @click=${() => apps?.register()}>${icon("plus")}Register an application</button>
      </div>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      ${apps ? apps.view() : empty("Applications of the team are for admins and owners")}
      ${access ? html`<h2>Who let which application in</h2>${access.view()}` : nothing}
      <h2>Your grants</h2>
      ${grants.view()}`,
    dispose() {
      apps?.dispose();
      access?.dispose();
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
        ? table("Applications", ["Name", "Client id", "Kind", "Environment", "Redirect URIs", "At most", "Registered", "Actions"], repeat(rows, ({ id }) => id, row), ", oldest first")
        : empty("No application is registered", html`<p>One asks people for access to the team by OAuth, or acts for itself with its secret.</p>`),
    )}
    ${shown.value ? secretDialog(shown.value.app, shown.value.isStored, tell) : nothing}`,
    dispose() {
      shown.value = null;
      list.dispose();
    },
  };
}

/** When a grant was given and used, and when it ends. @param {any} grant */
const times = (grant) => [grant.givenAt, grant.lastUsedAt, grant.expiresAt].map((at) => html`<td>${time(at)}</td>`);

/** For admins: what members let applications do in the team. */
function createAccess() {
  const id = currentTeam()?.id;
  const path = `/teams/${id}/grants`;
  const list = createInventory({ page: "/apps", path: () => path, rowsOf: ({ grants }) => grants, types: ["grant.", "member.", "app."], noun: "grant", rarer: 3 });
  /** @param {any} grant */
  const row = (grant) => html`<tr data-row=${grant.id}>
    <th scope="row"><a class="row-link" href=${href("/activity", { actor: `app:${grant.appId}` })} title="What it did">${grant.appName}</a>${grant.appTeamId === id ? nothing : html`<br /><span class="fine">of another team</span>`}</th>
    <td title=${grant.grantedBy.id}>${grant.grantedBy.name ?? grant.grantedBy.email ?? grant.grantedBy.id}</td>
    <td>${grant.environment}</td>
    <td class="wide">${grant.scopes.join(", ")}</td>
    ${times(grant)}
  </tr>`;
  return {
    path,
    view: () =>
      list.view((rows) =>
        rows.length > 0
          ? html`${table("Grants in the team", ["Application", "Let in by", "Environment", "It may", ...GIVEN], repeat(rows, (grant) => grant.id, row), ", newest first")}
              <p class="fine">Those that ended, and who withdrew them: <a href=${href("/activity", { type: "grant." })}>the grants in the activity</a>.</p>`
          : empty("Nobody let an application into the team", html`<p>What members allow one on a consent page appears here.</p>`),
      ),
    reload: list.reload,
    dispose: list.dispose,
  };
}

/** @param {() => unknown} withdrawn Called when one is. */
function createGrants(withdrawn) {
  const list = createInventory({ page: "/apps", path: () => GRANTS, rowsOf: ({ grants }) => grants, types: ["grant."], noun: "grant", rarer: 3 });
  const withdraw = (grant) =>
    list.ask({
      title: `Withdraw the access of ${grant.appName}?`,
      body: html`<p>Its tokens are refused from then on. To come back it has to ask you again.</p>`,
      label: "Withdraw it",
      shape: "ban",
      // Whoever gave it may, whatever their role.
      scope: "viewer",
      act: () => request({ method: "DELETE", path: `${GRANTS}/${grant.id}` }).then(() => void withdrawn()),
    });
  const teamName = (id) => session().me?.teams.find((team) => team.id === id)?.name ?? id;

  /** @param {any} grant */
  const row = (grant) => html`<tr data-row=${grant.id}>
    <th scope="row"><a class="row-link" href=${href("/activity", { type: "grant." })} title="Grants in the activity">${grant.appName}</a></th>
    <td>${teamName(grant.teamId)}, ${grant.environment}</td>
    <td class="wide">${grant.scopes.join(", ")}</td>
    ${times(grant)}
    <td>${rowButton("ban", "Withdraw", grant.appName, "", () => withdraw(grant))}</td>
  </tr>`;

  return {
    view: () =>
      list.view((rows) =>
        rows.length > 0
          ? table("Your grants", ["Application", "Team", "It may", ...GIVEN, "Actions"], repeat(rows, ({ id }) => id, row), ", newest first")
          : empty("You gave no application access", html`<p>What you allow one on a consent page appears here.</p>`),
      ),
    dispose: list.dispose,
  };
}
