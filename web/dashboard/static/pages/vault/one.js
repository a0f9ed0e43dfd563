// One credential of the vault: where it may be sent, under which key it lies, how it is used, and what was done to it.
import { activityEvents, actorName, copyButton, createReading, empty, get, here, href, html, loaded, nothing, number, readPeople, table, time, withQuery } from "../../kit.js";
import { what, who } from "../activity/sentence.js";

/** Entries of the activity that are shown. */
const ENTRIES = 20;

/** @param {Record<string, string>} parameters */
export function open({ id }) {
  const paths = [`/v1/tokens/${encodeURIComponent(id)}`, withQuery("/v1/activity", { target: id, limit: ENTRIES })];
  const reading = createReading({
    page: here().path,
    path: () => paths[0],
    feeds: [activityEvents],
    concerns: ({ type, target }) => type.startsWith("token.") && target?.id === id,
    rarer: 3,
    async read(signal) {
      const [{ token }, { activity }] = await Promise.all(paths.map((path) => get(path, { signal })));
      return { token, activity };
    },
  });
  void readPeople();
  /** @param {[string, unknown][]} terms */
  const list = (terms) => html`<dl class="terms">${terms.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

  return {
    title: "Credential",
    requests: () => paths.map((path) => ({ method: "GET", path })),
    view: () => html`${loaded(
      reading.loader,
      ({ token, activity }) => html`<h1>Credential ${token.name}</h1>
        <p><a href=${href("/vault")}>The vault</a></p>
        ${list([
          ["Reference", html`<code>{{${token.id}}}</code> ${copyButton(`{{${token.id}}}`, `reference to ${token.name}`)}`],
          ["Hosts", token.allowedHosts.length > 0 ? token.allowedHosts.join(", ") : "any"],
          ["Used", html`${number(token.useCount ?? 0)} times, ${token.lastUsedAt ? html`last ${time(token.lastUsedAt)}` : "not yet"}`],
          ["Value", html`version ${token.version}${token.rotatedAt ? html`, since ${time(token.rotatedAt)}` : nothing}`],
          ["Lies under the key", token.kek ? html`<code title="Its id. It is held by workers alone, and changes when that key is rotated.">${token.kek}</code>` : "unknown"],
          ["Stored", html`${time(token.createdAt)} by ${actorName(token.createdBy)}`],
          ["Expires", token.expiresAt ? time(token.expiresAt) : "never"],
        ])}
        <h2>What was done to it</h2>
        ${activity.length > 0
          ? table(
              "Activity of the credential",
              ["When", "Who did what", "Task"],
              activity.map(
                (entry) => html`<tr>
                  <td>${time(entry.at)}</td><th scope="row">${who(entry)} ${what(entry)} it</th>
                  <td>${entry.taskId ? html`<a href=${href(`/tasks/${entry.taskId}`)}>…${entry.taskId.slice(-10)}</a>` : nothing}</td>
                </tr>`,
              ),
              ", newest first",
            )
          : empty("Nothing is known")}
        <p><a href=${href("/activity", { target: id })}>All of it, with proofs</a></p>`,
    )}`,
    dispose: reading.dispose,
  };
}
