// The queues: whether each is paused, by whom and why, what waits and runs, and its limits.
import { html, nothing, repeat } from "../../ui/lit.js";
import { signal } from "../../vendor/signals-core/signals-core.js";
import { activityEvents, taskEvents } from "../../core/live.js";
import { href } from "../../core/location.js";
import { actorName, readPeople } from "../../core/people.js";
import { createReading } from "../../core/reading.js";
import { setShortcuts } from "../../core/shortcuts.js";
import { noRows, standsStill } from "../../core/still.js";
import { createStore } from "../../core/store.js";
import { icon } from "../../ui/icon.js";
import { rowShortcuts } from "../../ui/rows.js";
import { empty, loaded } from "../../ui/state.js";
import { pausedBadge } from "../../ui/status.js";
import { freshBar, table } from "../../ui/table.js";
import { time } from "../../ui/time.js";
import { number } from "../../ui/words.js";
import { pauseDialog, resumeAction } from "./change.js";
import { limitsOf, nextEnd } from "./words.js";
import { whyNot } from "../../core/team.js";

const PATH = "/v1/queues";

export function open() {
  const store = createStore(standsStill((queue) => queue.name), noRows);
  /** The dialog that is open. @type {{value: {view: () => unknown} | null}} */
  const opened = signal(null);
  /** @type {Map<string, ReturnType<typeof resumeAction>>} */
  const resumes = new Map();
  const reading = createReading({
    page: "/queues",
    path: () => PATH,
    feeds: [taskEvents, activityEvents],
    concerns: ({ type }) => !type.startsWith("key.") && !type.startsWith("session."),
    loaded(page, isNew) {
      store.dispatch({ type: isNew ? "loaded" : "checked", rows: page.queues, page });
      for (const { name, pause } of page.queues) if (!pause) resumes.delete(name);
      const end = nextEnd(page.queues);
      if (end) reading.soon(end + 500);
    },
  });
  void readPeople();
  const merge = () => store.dispatch({ type: "merged" });
  setShortcuts("This page", [{ keys: ".", what: "Show what is new", act: merge }, ...rowShortcuts]);

  const resume = (name) => {
    if (!resumes.has(name)) resumes.set(name, resumeAction(name, reading.reload));
    return resumes.get(name);
  };
  const pause = (name) => {
    opened.value = pauseDialog(name, { close: () => (opened.value = null), done: reading.reload });
  };
  const barred = whyNot("queues:write");

  /** @param {any} queue */
  const row = (queue) => html`<tr data-row=${queue.name}>
    <th scope="row"><a class="row-link" href=${href(`/queues/${queue.name}`)}>${queue.name}</a></th>
    <td class="wide">${pausedBadge(queue.pause !== null)} ${queue.pause ? pauseWords(queue.pause) : nothing}</td>
    ${["pending", "delayed", "processing"].map((status) => html`<td><a href=${href("/tasks", { queue: queue.name, status })}>${number(queue.counts[status])}</a></td>`)}
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
      ${freshBar(store.state, merge, "queue")} ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      ${loaded(reading.loader, () => {
        const { rows, page } = store.state;
        if (rows.length === 0) return empty("No queue yet", html`<p>A queue is there as soon as <a href=${href("/tasks/new")}>a task</a> names it.</p>`);
        return html`${table("Queues", ["Queue", "State", "Waiting", "Delayed", "Running", "Limits", "Actions"], repeat(rows, (queue) => queue.name, row), ", by name")}
          <p class="fine">${page.truncated ? "The first 1,000 queues with tasks are shown. " : ""}${page.exact ? "" : "So many delays have passed that waiting and delayed are exact as a sum only."}</p>`;
      })}
      ${opened.value?.view() ?? nothing}`,
    dispose: reading.dispose,
  };
}

/** Who paused it, since and until when, and why. @param {any} pause */
export function pauseWords({ by, since, until, reason }) {
  return html`by ${actorName(by)} ${time(since)}${until ? html`, until ${time(until)}` : nothing}${reason ? html`: ${reason}` : nothing}`;
}
