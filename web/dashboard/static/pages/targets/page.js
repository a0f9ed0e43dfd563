// The hosts that have a rule, and how they do: which rest, why, until when, and what is held back.
import {
  activityEvents, badge, createInventory, createSort, empty, go, href, html, icon, nothing, number, readPeople, rowButton, taskEvents, time, whyNot,
} from "../../kit.js";
import { pauseWords } from "../queues/page.js";
import { closeAction, isHeld, openForm, WRITE } from "./steer.js";
import { hostOf, ruleWords, STATES } from "./words.js";

const PATH = "/v1/targets";
/** @type {import("../../ui/sort.js").Column[]} */
const COLUMNS = [
  ["Host", ({ host }) => host],
  ["State", ({ health }) => health?.state],
  ["Next try", ({ health }) => health?.until],
  ["Held back", ({ health }) => health?.held],
  ["Failures in a row", ({ health }) => health?.failuresInARow],
  "Rule",
  "Actions",
];

/** @param {string} host */
export const pageOf = (host) => href(`/targets/${encodeURIComponent(host)}`);

export function open() {
  /** @type {Map<string, ReturnType<typeof closeAction>>} */
  const closes = new Map();
  const close = (host) => {
    if (!closes.has(host)) closes.set(host, closeAction(host, () => void list.reload()));
    return closes.get(host);
  };
  const sort = createSort(COLUMNS, ({ host }) => host);
  void readPeople();
  const list = createInventory({
    page: "/targets",
    path: () => PATH,
    idOf: ({ host }) => host,
    rowsOf: ({ targets }) => targets,
    types: [],
    feeds: [taskEvents, activityEvents],
    concerns: ({ type }) => type.startsWith("task.attempt") || type === "task.succeeded" || type === "task.dead" || type.startsWith("target."),
    noun: "host",
    rarer: 3,
    // A host that rests is tried when its pause is over, and no event says so before the attempt has ended.
    loaded({ targets }) {
      for (const target of targets) if (!isHeld(target)) closes.delete(target.host);
      const next = targets.map(({ health }) => Date.parse(health?.until ?? "")).filter(Number.isFinite);
      if (next.length > 0) list.soon(Math.max(Date.now(), Math.min(...next)) + 1000);
    },
  });
  const look = (event) => {
    event.preventDefault();
    const host = hostOf(event.currentTarget.elements.host.value);
    if (host) go(pageOf(host));
  };

  /** @param {any} target */
  const row = (target) => {
    const { host, rule, health, opened } = target;
    return html`<tr data-row=${host}>
      <th scope="row"><a class="row-link" href=${pageOf(host)}>${host}</a></th>
      <td class="wide">${opened ? html`${badge(STATES.open)} ${pauseWords(opened)}` : health ? html`${badge(STATES[health.state])} ${health.reason ?? nothing}` : "not known"}</td>
      <td>${health?.until ? time(health.until) : nothing}</td>
      <td>${health ? number(health.held) : ""}</td>
      <td>${health ? number(health.failuresInARow) : ""}</td>
      <td class="wide">${ruleWords(rule)}</td>
      <td>
        ${isHeld(target) ? html`${close(host)?.view()} ${close(host)?.problem()}` : nothing}
        ${opened ? nothing : rowButton("ban", "Open", host, WRITE, () => list.fill(openForm(host)))}
      </td>
    </tr>`;
  };

  return {
    title: "Targets",
    requests: () => [{ method: "GET", path: PATH }],
    view: () => html`<h1>Targets</h1>
      <p>A host that fails can be left alone by a rule: its tasks wait, and one is tried after each pause until it answers again. Or somebody opens it: then nothing starts there until it is closed.</p>
      ${whyNot(WRITE) ? html`<p class="fine">${whyNot(WRITE)}</p>` : nothing}
      <form class="filters" role="search" aria-label="Look at a host" @submit=${look}>
        <div class="inputs">
          <label>Host <input name="host" data-search placeholder="api.example.com" autocomplete="off" /></label>
          <button type="submit">${icon("search")}Look at it, or give it a rule</button>
        </div>
      </form>
      ${list.view((rows) =>
        rows.length > 0
          ? sort.table("Hosts with a rule, or opened", rows, row)
          : empty("No host has a rule", html`<p>Without one nothing is held back, and a host that is down uses up the retries of its tasks. Name a host above.</p>`),
      )}`,
    dispose: list.dispose,
  };
}
