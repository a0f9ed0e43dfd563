// One queue: whether it works, what holds back the task that waits longest, what happened in it, its settings and its tasks.
import {
  activityEvents, counted, createReading, createStore, empty, figures, freshBar, get, href, html, icon, loaded, nothing, number, pausedBadge,
  readPeople, readStats, rowShortcuts, send, setShortcuts, signal, statsPath, taskEvents, whyNot, withQuery,
} from "../../kit.js";
import { blockedSentence } from "../task/blocked.js";
import { listParameters } from "../tasks/filters.js";
import { noList, reduce } from "../tasks/state.js";
import { taskTable } from "../tasks/view.js";
import { pathOf, pauseDialog, resumeAction, settingsForm } from "./change.js";
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
  const stats = statsPath(name);
  /** Of the tasks that wait, the first one: the list begins with the newest. @param {number} waiting */
  const oldest = (waiting) => withQuery("/v1/tasks", { queue: name, kind: "all", status: "pending", limit: 1, offset: Math.min(waiting - 1, MOST), fields: "createdAt" });

  const reading = createReading({
    page,
    path: () => pathOf(name),
    feeds: [taskEvents, activityEvents],
    concerns: (event) => event.queue === name || event.target?.id === name,
    // Four or five requests instead of one.
    rarer: 5,
    async read(stop, path) {
      const [answer, recent, figures] = await Promise.all([send({ method: "GET", path, signal: stop }), get(tasks, { signal: stop }), readStats(stats, stop)]);
      const { queue } = await answer.json();
      const waits = queue.counts.pending > 0 ? (await get(oldest(queue.counts.pending), { signal: stop })).tasks[0] : undefined;
      // It may start, or end, while it is asked about.
      const why = waits ? await get(`/v1/tasks/${waits.id}/explain`, { signal: stop }).catch(() => null) : null;
      return { queue, tag: answer.headers.get("etag") ?? "", recent, figures, why: why?.explanation };
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
  const settings = settingsForm(name, () => reading.reload());
  void readPeople();
  const merge = () => list.dispatch({ type: "merged" });
  setShortcuts("This page", [{ keys: ".", what: "Show what is new", act: merge }, ...rowShortcuts]);
  /** @param {"pause" | "drain"} how */
  const hold = (how) => {
    opened.value = pauseDialog(name, { close: () => (opened.value = null), done: reading.reload }, how);
  };
  const barred = whyNot("queues:write");

  return {
    title: `Queue ${name}`,
    requests: () => [pathOf(name), tasks, stats].map((path) => ({ method: "GET", path })),
    actions: () => [
      ["Pause this queue", () => barred || hold("pause"), "pause"],
      ["Drain this queue", () => barred || hold("drain"), "pause"],
      ["Resume this queue", () => resume.press(), "play"],
    ],
    view: () => html`<h1>Queue ${name}</h1>
      <p><a href=${href("/queues")}>All queues</a></p>
      ${loaded(reading.loader, ({ queue, tag, figures: happened, why }) => {
        const { rows } = list.state;
        return html`<p class="sentence">${pausedBadge(queue.pause !== null, queue.state)} ${queue.pause ? pauseWords(queue.pause) : stateOf(queue)}</p>
          ${queue.pause && queue.counts.processing ? html`<p>${counted(queue.counts.processing, "attempt")} that ran already may still go on.</p>` : nothing}
          <p class="actions">
            ${queue.pause ? resume.view() : nothing}
            <button type="button" ?disabled=${barred !== ""} @click=${() => hold("pause")}>${icon("pause")}${queue.pause ? "Change the pause" : "Pause"}</button>
            <button type="button" ?disabled=${barred !== ""} @click=${() => hold("drain")}>${icon("pause")}Drain</button>
            ${barred ? html`<span class="fine">${barred}</span>` : nothing}
          </p>
          ${resume.problem()}
          ${why?.blockedBy ? html`<p>The <a href=${href(`/tasks/${why.taskId}`)}>task that waits longest</a>: ${blockedSentence(why)}</p>` : nothing}
          <ul class="figures">
            ${STATUSES.map((status) => html`<li><a href=${href("/tasks", { queue: name, status })}><strong>${number(queue.counts[status])}</strong> ${status}</a></li>`)}
          </ul>
          <h2>The last hour</h2>
          ${figures(happened, name)}
          <h2>Settings</h2>
          ${settings.view(queue, tag)}
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
