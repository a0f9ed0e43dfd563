// What a newcomer does first. Each line ticks itself off: by what the API has already, and by events as they come.
import { activityEvents, currentTeam, firstRunEnded, get, href, html, icon, nothing, roleMay, signal, taskEvents } from "../../kit.js";

/** @typedef {Record<string, boolean>} Ticks */

/** Name, words, where it is done, and which of the first tries of the composer does it. @type {[string, string, string, string?][]} */
const STEPS = [
  ["key", "Make a key for your program", "/keys"],
  ["task", "Send a task", "/tasks/new", "call"],
  ["callback", "Receive a webhook: give a task onCompleteUrl", "/tasks/new", "callback"],
  ["retry", "See a failure being retried: call a target that answers 503", "/tasks/new", "retry"],
  ["restricted", "Restrict the key of production: to what it needs, or to your networks", "/keys"],
];

/** @param {Ticks} ticks @param {any[]} events Of tasks and of activity. @returns {Ticks} */
export function ticked(ticks, events) {
  const seen = events.map(({ type, retryAt, outcome }) => {
    if (type === "task.created") return "task";
    if (type === "task.callback_sent") return "callback";
    if (type === "task.attempt_failed" && retryAt) return "retry";
    return type === "key.created" && outcome === "ok" ? "key" : "";
  });
  const fresh = seen.filter((name) => name && !ticks[name]);
  return fresh.length === 0 ? ticks : { ...ticks, ...Object.fromEntries(fresh.map((name) => [name, true])) };
}

/** Whether a key of live may less than everything, or not from everywhere. @param {any[]} keys */
export function isRestricted(keys) {
  return keys.some(({ environment, status, access, allowedSources }) => environment === "live" && status === "active" && (access !== "Full access" || allowedSources.length > 0));
}

/** The list while it is of use; `null` once all is done, or somebody has put it away. */
export function createFirstRun() {
  const team = currentTeam();
  if (!team || firstRunEnded.peek().split(",").includes(team.id)) return null;
  /** @type {{value: Ticks, peek(): Ticks}} */
  const ticks = signal({});
  const isOver = signal(false);
  const seesKeys = roleMay(team.role, "keys:write");
  const end = () => {
    isOver.value = true;
    firstRunEnded.set([...firstRunEnded.peek().split(",").filter(Boolean), team.id].join(","));
  };
  const tick = (found) => {
    ticks.value = { ...ticks.peek(), ...Object.fromEntries(Object.entries(found).filter(([, is]) => is)) };
    if (STEPS.every(([name]) => ticks.peek()[name])) end();
  };
  const any = (path, list) => get(path).then((answer) => answer[list].length > 0, () => false);
  async function readKeys() {
    if (!seesKeys) return {};
    const { apiKeys } = await get(`/teams/${team?.id}/apikeys`).catch(() => ({ apiKeys: [] }));
    return { key: apiKeys.length > 0, restricted: isRestricted(apiKeys) };
  }
  async function read() {
    const [keys, task, callback, retry] = await Promise.all([
      readKeys(),
      any("/v1/tasks?kind=all&limit=1&fields=status", "tasks"),
      any("/v1/tasks?kind=all&limit=1&fields=status&webhook=delivered", "tasks"),
      any("/v1/tasks?kind=all&limit=1&fields=status&minAttempts=2", "tasks"),
    ]);
    tick({ ...keys, task, callback, retry });
  }
  const happened = (events) => {
    tick(ticked(ticks.peek(), events));
    if (events.some(({ type }) => type.startsWith("key."))) void readKeys().then(tick);
  };
  const ends = [taskEvents, activityEvents].map((feed) => feed.subscribe({ events: happened, resync: () => void read() }));
  void read();

  return {
    view() {
      if (isOver.value) return nothing;
      const left = STEPS.filter(([name]) => !ticks.value[name]).length;
      return html`<section class="first-run" aria-labelledby="first-title">
        <h2 id="first-title">First steps: ${STEPS.length - left} of ${STEPS.length} done</h2>
        <ul>
          ${STEPS.map(
            ([name, words, path, how]) => html`<li data-step=${name} data-done=${ticks.value[name] ? "yes" : "no"}>
              ${icon(ticks.value[name] ? "circle-check" : "circle")}${ticks.value[name] ? html`<s>${words}</s> <span class="fine">done</span>` : html`<a href=${href(path, { try: how })}>${words}</a>`}
              ${!seesKeys && path === "/keys" && !ticks.value[name] ? html`<span class="fine">An admin sees to it.</span>` : nothing}
            </li>`,
          )}
        </ul>
        <button type="button" class="quiet small" @click=${end}>${icon("x")}Put the list away</button>
      </section>`;
    },
    dispose: () => ends.forEach((stop) => stop()),
  };
}
