// The vault: credentials that tasks name and never hold. A value goes in and is shown by nothing afterwards.
import {
  actorName, copyButton, createInventory, empty, field, href, html, icon, nothing, number, readPeople, repeat, request, rowButton, table, time,
  whyNot,
} from "../../kit.js";

const PATH = "/v1/tokens";
const WRITE = "tokens:write";

export function open() {
  const list = createInventory({ page: "/vault", path: () => PATH, rowsOf: ({ tokens }) => tokens, types: ["token."], noun: "credential", rarer: 5 });
  void readPeople();
  const value = (form) => field(form, { name: "value", label: "Value", type: "password", hint: "As it is to be sent, such as Bearer sk-…" });
  const add = () =>
    list.fill({
      title: "Store a credential",
      label: "Store it",
      names: ["name", "value", "allowedHosts", "expiresAt"],
      fields: (form) => html`${field(form, { name: "name", label: "Name" })} ${value(form)}
        ${field(form, { name: "allowedHosts", label: "Hosts", required: false, hint: "Where it may be sent, such as api.openai.com or *.example.com, separated by commas. Empty: anywhere." })}
        ${field(form, { name: "expiresAt", label: "Expires", type: "datetime-local", required: false, hint: "Your local time. Empty: never." })}`,
      send: ({ name, value, allowedHosts, expiresAt }) => {
        const hosts = allowedHosts.split(/[\s,]+/).filter(Boolean);
        const body = { name, value, ...(hosts.length > 0 ? { allowedHosts: hosts } : {}), ...(expiresAt ? { expiresAt: new Date(expiresAt).toISOString() } : {}) };
        return request({ method: "POST", path: PATH, body });
      },
    });
  const rotate = (token) =>
    list.fill({
      title: `A new value for ${token.name}`,
      label: "Rotate",
      names: ["value"],
      fields: (form) => html`<p>Calls that begin from now on carry it. Its id stays, so no task has to change.</p>${value(form)}`,
      send: (body) => request({ method: "POST", path: `${PATH}/${token.id}/rotate`, body }),
    });
  const revoke = (token) =>
    list.ask({
      title: `Revoke ${token.name}?`,
      body: html`<p>No call that begins now carries it, and copies of it cannot be opened. Tasks that name it fail. This cannot be taken back.</p>
        <p>${token.lastUsedAt ? html`It was last used ${time(token.lastUsedAt)}.` : "No use of it is known."}</p>`,
      label: "Revoke it now",
      shape: "trash-2",
      scope: WRITE,
      act: () => request({ method: "DELETE", path: `${PATH}/${token.id}` }),
    });
  const row = (token) => html`<tr data-row=${token.id}>
    <th scope="row"><a class="row-link" href=${href(`/vault/${token.id}`)}>${token.name}</a></th>
    <td><code title=${token.id}>…${token.id.slice(-8)}</code> ${copyButton(`{{${token.id}}}`, `reference to ${token.name}`)}</td>
    <td>${token.allowedHosts.length > 0 ? token.allowedHosts.join(", ") : html`<span class="flag">any host</span>`}</td>
    <td>${token.lastUsedAt ? time(token.lastUsedAt) : "not yet"}, ${number(token.useCount ?? 0)} times</td>
    <td>${token.rotatedAt ? html`${time(token.rotatedAt)}, version ${token.version}` : "never"}</td>
    <td>${time(token.createdAt)} by <span title=${token.createdBy}>${actorName(token.createdBy)}</span></td>
    <td>${token.expiresAt ? time(token.expiresAt) : "never"}</td>
    <td>${rowButton("rotate-ccw", "Rotate", token.name, WRITE, () => rotate(token))} ${rowButton("trash-2", "Revoke", token.name, WRITE, () => revoke(token))}</td>
  </tr>`;
  const barred = whyNot(WRITE);

  return {
    title: "Vault",
    requests: () => [{ method: "GET", path: PATH }],
    actions: () => (barred ? [] : [["Store a credential", add, "plus"]]),
    view: () => html`<div class="title">
        <h1>Vault</h1>
        <button type="button" class="primary" ?disabled=${barred !== ""} @click=${add}>${icon("plus")}Store a credential</button>
      </div>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      ${list.view((rows) =>
        rows.length > 0
          ? table("Credentials", ["Name", "Reference", "Hosts", "Used", "Rotated", "Stored", "Expires", "Actions"], repeat(rows, ({ id }) => id, row), ", oldest first")
          : empty("The vault is empty", html`<p>A credential that lies here is sent with a task without being in it: the task holds a reference.</p>`),
      )}`,
    dispose: list.dispose,
  };
}
