// One key: which of its scopes its requests need, and which routes answer it how.
import { activityEvents, counted, createReading, currentTeam, empty, get, here, href, html, icon, loaded, nothing, now, number, table, time } from "../../kit.js";
import { chart } from "../../ui/chart.js";
import { createKeyDialogs, mayKeys } from "./opened.js";
import { SCOPES } from "./scopes.js";

export const open = mayKeys(key);

const DAY = 86_400_000;

/** @param {Record<string, string>} parameters */
function key({ id }) {
  const paths = [`/apikeys/${encodeURIComponent(id)}/usage`, `/teams/${currentTeam()?.id}/apikeys`];
  const reading = createReading({
    page: here().path,
    path: () => paths[0],
    feeds: [activityEvents],
    concerns: ({ type, target }) => type.startsWith("key.") && target?.id === id,
    async read(signal) {
      const [{ usage }, { apiKeys }] = await Promise.all(paths.map((path) => get(path, { signal })));
      return { ...apiKeys.find((one) => one.id === id), usage };
    },
  });
  const dialogs = createKeyDialogs(() => reading.reload());
  const act = (kind, word, one, isBarred = false) => html`<button type="button" class=${kind === "revoke" ? "danger" : nothing} ?disabled=${isBarred} @click=${() => dialogs.start({ kind, key: one })}>${word}</button>`;
  /** @param {any} one */
  const narrow = (one) => {
    const { unusedScopes, scopes, days } = one.usage;
    if (unusedScopes.length === 0) return html`<p class="sentence">It used each of its scopes within ${days} days.</p>`;
    const used = scopes.length - unusedScopes.length;
    const like = { ...one, scopes: one.scopes.filter((name) => !unusedScopes.includes(name)) };
    return html`<p class="sentence">It used ${number(used)} of ${counted(scopes.length, "scope")} within ${days} days.</p>
      ${used > 0 && one.status === "active"
        ? html`<p><button type="button" class="primary" @click=${() => dialogs.start({ kind: "create", like })}>${icon("key-round")}Make a narrower one…</button>
            <span class="fine">Scopes of a key never change: give the new one to its program, then revoke this one.</span></p>`
        : nothing}`;
  };
  const row = (first, rest, one) => html`<tr><th scope="row"><code>${first}</code></th><td>${rest}</td><td>${number(one.requests)}</td><td>${one.lastUsedAt ? time(one.lastUsedAt) : "never"}</td></tr>`;
  const columns = ["Requests", "Last"];
  /** Requests of the last days, and those of today. @param {any} usage */
  const daily = ({ byDay, days }) => {
    const known = new Map(byDay.map(({ day, requests }) => [day, requests]));
    const all = Array.from({ length: days }, (_, n) => new Date(now() - (days - 1 - n) * DAY).toISOString().slice(0, 10));
    const counts = all.map((day) => known.get(day) ?? 0);
    const sum = counts.reduce((total, count) => total + count, 0);
    if (sum === 0) return nothing;
    return html`<h2>The last ${days} days</h2>
      <p>${counted(sum, "request")}, ${number(counts.at(-1) ?? 0)} of them today (UTC), on ${counted(byDay.length, "day")}.</p>
      ${chart([["accent", counts]], { room: days, from: `${days} days ago`, unit: "requests on a day at most" })}`;
  };

  return {
    title: "Key",
    requests: () => paths.map((path) => ({ method: "GET", path })),
    view: () => html`${loaded(
      reading.loader,
      (one) => html`<div class="title">
          <h1>Key ${one.name}</h1>
          ${one.status === "active" ? html`<span class="actions">${act("rotate", "Rotate", one, Boolean(one.rotatedTo))} ${act("revoke", "Revoke", one)}</span>` : nothing}
        </div>
        ${dialogs.notice()}
        <p><code>${one.displayPrefix}</code>, ${one.status}, ${one.environment}; made ${time(one.createdAt)}. <a href=${href("/activity", { actor: `key:${id}` })}>What it did</a>, <a href=${href("/activity", { target: id })}>what was done to it</a></p>
        ${narrow(one)} ${daily(one.usage)}
        ${table("Scopes", ["Scope", "Lets it", ...columns], one.usage.scopes.map((used) => row(used.scope, SCOPES.find(([name]) => name === used.scope)?.[1], used)))}
        ${one.usage.routes.length > 0
          ? table("Routes", ["Route", "Answers", ...columns], one.usage.routes.map((used) => row(`${used.method} ${used.route}`, used.status, used)), ", most frequent first")
          : empty("No request of it is known")}`,
    )}
    ${dialogs.view()}`,
    dispose: reading.dispose,
  };
}
