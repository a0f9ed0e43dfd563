// The queues: whether each is paused, by whom and why, what waits and runs, and its limits.
import {
  activityEvents, actorName, createBulk, createSort, createStillList, empty, href, html, icon, nothing, number, pausedBadge, readPeople, signal,
  taskEvents, time, whyNot,
} from "../../kit.js";
import { pauseDialog, pauseVerbs, pathOf, resumeAction } from "./change.js";
import { failedWords, limitsOf, nextEnd } from "./words.js";

const PATH = "/v1/queues";
/** @type {import("../../ui/sort.js").Column[]} */
const COLUMNS = [
  "Select",
  ["Queue", ({ name }) => name],
  ["State", ({ state }) => state],
  ["Waiting", ({ counts }) => counts.pending],
  ["Delayed", ({ counts }) => counts.delayed],
  ["Running", ({ counts }) => counts.processing],
  ["Waits longest", ({ oldestPendingSince }) => oldestPendingSince],
  ["Failed, 15 min", ({ statistics }) => statistics?.failedShare],
  "Limits",
  "Actions",
];

export function open() {
  /** The dialog that is open. @type {{value: {view: () => unknown} | null}} */
  const opened = signal(null);
  /** @type {Map<string, ReturnType<typeof resumeAction>>} */
  const resumes = new Map();
  const bulk = createBulk({
    ids: () => names,
    noun: "queue",
    scope: "queues:write",
    page: (name) => `/queues/${encodeURIComponent(name)}`,
    nameOf: (name) => name,
    verbs: pauseVerbs(pathOf, "queue", "No attempt of them starts any more, on no worker. What runs goes on; tasks are accepted and wait."),
    done: () => void list.reload(),
  });
  let names = [""];
  const sort = createSort(COLUMNS, ({ name }) => name);
  const list = createStillList({
    page: "/queues",
    path: () => PATH,
    idOf: (queue) => queue.name,
    rowsOf: (page) => page.queues,
    noun: "queue",
    feeds: [taskEvents, activityEvents],
    concerns: ({ type }) => !type.startsWith("key.") && !type.startsWith("session."),
    shortcuts: bulk.shortcuts,
    loaded(page) {
      names = page.queues.map(({ name }) => name);
      for (const { name, pause } of page.queues) if (!pause) resumes.delete(name);
      const end = nextEnd(page.queues);
      if (end) list.soon(end + 500);
    },
  });
  void readPeople();

  const resume = (name) => {
    if (!resumes.has(name)) resumes.set(name, resumeAction(name, list.reload));
    return resumes.get(name);
  };
  const pause = (name) => {
    opened.value = pauseDialog(name, { close: () => (opened.value = null), done: list.reload });
  };
  const barred = whyNot("queues:write");

  /** @param {any} queue */
  const row = (queue) => html`<tr data-row=${queue.name}>
    <td>${bulk.box(queue.name)}</td>
    <th scope="row"><a class="row-link" href=${href(`/queues/${queue.name}`)}>${queue.name}</a></th>
    <td class="wide">${pausedBadge(queue.pause !== null, queue.state)} ${queue.pause ? pauseWords(queue.pause) : nothing}</td>
    ${["pending", "delayed", "processing"].map((status) => html`<td><a href=${href("/tasks", { queue: queue.name, status })}>${number(queue.counts[status])}</a></td>`)}
    <td>${time(queue.oldestPendingSince)}</td>
    <td>${queue.statistics ? failedWords(queue.statistics) : ""}</td>
    <td>${limitsOf(queue)}</td>
    <td>
      ${queue.pause
        ? html`${resume(queue.name).view()} ${resume(queue.name).problem()}`
        : html`<button type="button" class="small" aria-label=${`Pause ${queue.name}`} ?disabled=${barred !== ""} @click=${() => pause(queue.name)}>${icon("pause")}Pause</button>`}
    </td>
  </tr>`;

  return {
    title: "Queues",
    requests: () => [{ method: "GET", path: PATH }],
    view: () => html`<h1>Queues</h1>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      ${bulk.view()}
      ${list.view((rows, page) => {
        if (rows.length === 0) return empty("No queue yet", html`<p>A queue is there as soon as <a href=${href("/tasks/new")}>a task</a> names it.</p>`);
        return html`${sort.table("Queues", rows, row)}
          <p class="fine">${page.truncated ? "The first 1,000 queues with tasks are shown. " : ""}${page.exact ? "" : "So many delays have passed that waiting and delayed are exact as a sum only."}</p>`;
      })}
      ${opened.value?.view() ?? nothing}`,
    dispose: list.dispose,
  };
}

/** Who paused it, since and until when, and why. @param {any} pause */
export function pauseWords({ by, since, until, reason }) {
  return html`by ${actorName(by)} ${time(since)}${until ? html`, until ${time(until)}` : nothing}${reason ? html`: ${reason}` : nothing}`;
}
