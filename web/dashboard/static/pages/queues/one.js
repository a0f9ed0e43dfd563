// One queue: whether it works, what holds back the task that waits longest, its limits and its tasks.
import { html, nothing } from "../../ui/lit.js";
import { signal } from "../../vendor/signals-core/signals-core.js";
import { get, withQuery } from "../../core/api.js";
import { activityEvents, taskEvents } from "../../core/live.js";
import { href } from "../../core/location.js";
import { readPeople } from "../../core/people.js";
import { createReading } from "../../core/reading.js";
import { setShortcuts } from "../../core/shortcuts.js";
import { createStore } from "../../core/store.js";
import { whyNot } from "../../core/team.js";
import { icon } from "../../ui/icon.js";
import { rowShortcuts } from "../../ui/rows.js";
import { empty, loaded } from "../../ui/state.js";
import { pausedBadge } from "../../ui/status.js";
import { freshBar } from "../../ui/table.js";
import { counted, number } from "../../ui/words.js";
import { blockedSentence } from "../task/blocked.js";
import { listParameters } from "../tasks/filters.js";
import { noList, reduce } from "../tasks/state.js";
import { taskTable } from "../tasks/view.js";
import { limitForm, pathOf, pauseDialog, resumeAction } from "./change.js";
import { pauseWords } from "./page.js";
import { nextEnd, stateOf } from "./words.js";

/** How far the API skips, at most. */
const MOST = 10_000;
const STATUSES = ["pending", "delayed", "processing", "completed", "failed", "timeout", "cancelled"];

/** @param {Record<string, string>} parameters */
export function open({ name }) {
  const list = createStore(reduce, noList);
  /** @type {{value: {view: () => unknown} | null}} */
  const opened = signal(null);
  const page = `/queues/${encodeURIComponent(name)}`;
  const tasks = withQuery("/v1/tasks", { ...listParameters({ queue: name }, ""), limit: 20 });
  /** Of the tasks that wait, the first one: the list begins with the newest. @param {number} waiting */
  const oldest = (waiting) => withQuery("/v1/tasks", { queue: name, status: "pending", limit: 1, offset: Math.min(waiting - 1, MOST), fields: "createdAt" });

  const reading = createReading({
    page,
    path: () => pathOf(name),
    feeds: [taskEvents, activityEvents],
    concerns: (event) => event.queue === name || event.target?.id === name,
    // Three or four requests instead of one.
    rarer: 4,
    async read(stop, path) {
      const [{ queue }, recent] = await Promise.all([get(path, { signal: stop }), get(tasks, { signal: stop })]);
      const waits = queue.counts.pending > 0 ? (await get(oldest(queue.counts.pending), { signal: stop })).tasks[0] : undefined;
      // It may start, or end, while it is asked about.
      const why = waits ? await get(`/v1/tasks/${waits.id}/explain`, { signal: stop }).catch(() => null) : null;
      return { queue, recent, why: why?.explanation };
    },
    loaded({ queue, recent }, isNew) {
      list.dispatch({ type: isNew ? "loaded" : "checked", page: recent });
      const end = nextEnd([queue]);
      if (end) reading.soon(end + 500);
      if (!queue.pause) resume = resumeAction(name, reading.reload);
    },
  });
  const end = taskEvents.subscribe({ events: (events) => list.dispatch({ type: "happened", events }), resync() {} });
  let resume = resumeAction(name, () => reading.reload());
  const limits = limitForm(name, () => reading.reload());
  void readPeople();
  const merge = () => list.dispatch({ type: "merged" });
  setShortcuts("This page", [{ keys: ".", what: "Show what is new", act: merge }, ...rowShortcuts]);
  const pause = () => {
    opened.value = pauseDialog(name, { close: () => (opened.value = null), done: reading.reload });
  };
  const barred = whyNot("queues:write");

  return {
    title: `Queue ${name}`,
    requests: () => [pathOf(name), tasks].map((path) => ({ method: "GET", path })),
    actions: () => [
      ["Pause this queue", () => barred || pause(), "pause"],
      ["Resume this queue", () => resume.press(), "play"],
    ],
    view: () => html`<h1>Queue ${name}</h1>
      <p><a href=${href("/queues")}>All queues</a></p>
      ${loaded(reading.loader, ({ queue, why }) => {
        const { rows } = list.state;
        return html`<p class="sentence">${pausedBadge(queue.pause !== null)} ${queue.pause ? pauseWords(queue.pause) : stateOf(queue)}</p>
          ${queue.pause && queue.counts.processing ? html`<p>${counted(queue.counts.processing, "attempt")} that ran already may still go on.</p>` : nothing}
          <p class="actions">
            ${queue.pause ? resume.view() : nothing}
            <button type="button" ?disabled=${barred !== ""} @click=${pause}>${icon("pause")}${queue.pause ? "Change the pause" : "Pause"}</button>
            ${barred ? html`<span class="fine">${barred}</span>` : nothing}
          </p>
          ${resume.problem()}
          ${why?.blockedBy ? html`<p>The <a href=${href(`/tasks/${why.taskId}`)}>task that waits longest</a>: ${blockedSentence(why)}</p>` : nothing}
          <ul class="figures">
            ${STATUSES.map((status) => html`<li><a href=${href("/tasks", { queue: name, status })}><strong>${number(queue.counts[status])}</strong> ${status}</a></li>`)}
          </ul>
          ${limits.view(queue)}
          <h2>Latest tasks</h2>
          ${freshBar(list.state, merge, "task")}
          ${rows.length > 0
            ? html`${taskTable(rows, "Latest tasks of the queue")}<p><a href=${href("/tasks", { queue: name })}>All of its tasks</a></p>`
            : empty("No task of this queue is kept", html`<p><a href=${href("/tasks/new", { queue: name })}>Send one</a></p>`)}`;
      })}
      ${opened.value?.view() ?? nothing}`,
    dispose() {
      end();
      reading.dispose();
    },
  };
}
