// The keys of the team: what the API tells of each, and creating, rotating and revoking them.
import {
  activityEvents, actorName, createStillList, currentTeam, empty, here, href, html, icon, nothing, now, number, readPeople, repeat, setQuery,
  table, time, withQuery,
} from "../../kit.js";
import { sparkline } from "../../ui/chart.js";
import { createKeyDialogs, mayKeys } from "./opened.js";
import { flags } from "./state.js";

/** Filters that the API has. @type {[string, string, string[]][]} */
const FILTERS = [
  ["environment", "Environment", ["live", "test"]],
  ["status", "State", ["active", "expired", "revoked"]],
];

/** Of the line of each key. */
const DAYS = 30;

export const open = mayKeys(keys);

function keys() {
  const filter = (name) => here().query.get(name) ?? "";
  const path = () => withQuery(`/teams/${currentTeam()?.id}/apikeys`, { ...Object.fromEntries(FILTERS.map(([name]) => [name, filter(name)])), days: DAYS });
  const list = createStillList({
    page: "/keys",
    path,
    rowsOf: ({ apiKeys }) => apiKeys,
    feeds: [activityEvents],
    concerns: ({ type }) => type.startsWith("key."),
    noun: "key",
    shortcuts: [{ keys: "n", what: "Create a key", act: () => start({ kind: "create" }) }],
  });
  const { start, notice, view } = createKeyDialogs(() => list.reload());

  void readPeople();

  return {
    title: "Keys",
    requests: () => [{ method: "GET", path: path() }],
    actions: () => [["Create a key", () => start({ kind: "create" }), "plus"]],
    view: () => html`<div class="title">
        <h1>Keys</h1>
        <button type="button" class="primary" @click=${() => start({ kind: "create" })}>${icon("plus")}Create a key</button>
      </div>
      <form class="filters" role="search" aria-label="Filter keys" @submit=${(event) => event.preventDefault()}>
        <div class="inputs">
          ${FILTERS.map(
            ([name, label, values], n) => html`<label
              >${label}
              <select name=${name} ?data-search=${n === 0} @change=${(event) => setQuery({ [name]: event.target.value })}>
                <option value="" .selected=${!filter(name)}>any</option>
                ${values.map((value) => html`<option .selected=${filter(name) === value}>${value}</option>`)}
              </select></label
            >`,
          )}
        </div>
      </form>
      ${notice()} ${list.view((rows) => keyTable(rows, start))} ${view()}`,
    dispose: list.dispose,
  };
}

/** @param {any[]} all @param {(dialog: any) => void} start */
function keyTable(all, start) {
  if (all.length === 0) {
    const clear = () => setQuery({ environment: "", status: "" });
    return empty("No key matches", html`<p><button type="button" @click=${clear}>Show all keys</button></p>`);
  }
  const columns = ["Name", "Key", "Access", "Environment", "State", "Last used", "Requests", "Made", "Expires", "Actions"];
  return table("Keys", columns, repeat(all, (key) => key.id, (key) => row(key, start)), ", oldest first");
}

/** Requests of the last days, unless there were none. @param {any} key */
function lately({ byDay = [] }) {
  const sum = byDay.reduce((total, count) => total + count, 0);
  return sum === 0 ? nothing : sparkline(byDay, `${number(sum)} in the last ${DAYS} days, ${number(byDay.at(-1))} of them today (UTC)`);
}

/** @param {any} key @param {(dialog: any) => void} start */
function row(key, start) {
  const isActive = key.status === "active";
  return html`<tr data-row=${key.id}>
    <th scope="row"><a class="row-link" href=${href(`/keys/${key.id}`)}>${key.name}</a></th>
    <td><code title=${key.id}>${key.displayPrefix}</code></td>
    <td><span title=${key.scopes.join(", ")}>${key.access}${key.access === "Custom" ? `, ${key.scopes.length} scopes` : ""}</span></td>
    <td>${key.environment}</td>
    <td>
      <span class=${`state ${key.status}`}>${key.status}</span>
      ${flags(key, now()).map((flag) => html` <span class="flag">${flag}</span>`)}
      ${isActive && key.acceptedUntil ? html`<br /><span class="fine">accepted until ${time(key.acceptedUntil)}</span>` : nothing}
    </td>
    <td>${key.lastUsedAt ? html`${time(key.lastUsedAt)} from <code>${key.lastUsedFrom}</code>` : "not yet"}</td>
    <td>${number(key.useCount ?? 0)}${lately(key)}</td>
    <td>${time(key.createdAt)} by <span title=${key.createdBy ?? ""}>${actorName(key.createdBy)}</span>${key.allowedSources.length > 0 ? html`<br /><span class="fine">only from ${key.allowedSources.join(", ")}</span>` : nothing}</td>
    <td>${key.expiresAt ? time(key.expiresAt) : "never"}</td>
    <td>
      ${isActive
        ? html`<button type="button" class="small" aria-label=${`Rotate ${key.name}`} ?disabled=${Boolean(key.rotatedTo)} @click=${() => start({ kind: "rotate", key })}>Rotate</button>
            <button type="button" class="small danger" aria-label=${`Revoke ${key.name}`} @click=${() => start({ kind: "revoke", key })}>Revoke</button>`
        : nothing}
    </td>
  </tr>`;
}
