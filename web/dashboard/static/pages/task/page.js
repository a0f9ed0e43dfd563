// One task, live from its creation to its end.
import {
  announce, createAction, createLoader, createStore, get, go, here, href, html, icon, loaded, nothing, pace, request, restore, signal, taskEvents,
} from "../../kit.js";
import { createRetries } from "../dead/retry.js";
import { blockedSentence } from "./blocked.js";
import { createCalls } from "./calls.js";
import { readHistory } from "./history.js";
import { sentence } from "./sentence.js";
import { noTask, reduce } from "./state.js";
import { attemptTable, claimPane, eventTable, exchange, head, planTable, terms, timeline, warningList } from "./view.js";

/** Events that come together are one reason to read the task again, in milliseconds. */
const TOGETHER = 300;
/** How many times rarer than a list is read, it is asked why a task waits. */
const RARER = 3;
/** What keeps a task waiting that can be run now. */
const EARLY = ["not_due", "retry_pause"];

/** @param {Record<string, string>} parameters */
export function open({ id }) {
  const store = createStore(reduce, noTask);
  const path = `/v1/tasks/${id}`;
  const stop = new AbortController();
  const calls = createCalls(id);
  /** What the API told when it was sent from here. */
  const { plan = null, warnings = [] } = here().state ?? {};
  let timer = 0;

  const loader = createLoader((signal) => get(path, { signal }), {
    loaded({ task }) {
      const before = store.peek().task?.status;
      store.dispatch({ type: "read", task });
      calls.read(task);
      // The sentence on the page counts down; what is read out changes with the status alone.
      if (before && before !== task.status) announce(sentence(task, null, 0));
      if (task.completedAt || task.status === "processing") why.value = null;
      else void explain();
      requestAnimationFrame(restore);
    },
  });
  /** Why it waits, as its worker told last. @type {{value: any}} */
  const why = signal(null);
  let again = 0;
  async function explain() {
    clearTimeout(again);
    // Without an owner there is nobody who knows; the task itself is shown all the same.
    const told = await get(`${path}/explain`, { signal: stop.signal }).catch(() => null);
    if (stop.signal.aborted) return;
    why.value = told?.explanation ?? null;
    // What is ahead of it moves without an event of its own.
    if (why.value?.blockedBy) again = setTimeout(explain, RARER * pace());
  }
  const take = (events) => store.dispatch({ type: "happened", events });
  const reload = () => {
    timer = 0;
    void loader.load();
  };
  const reloadSoon = () => {
    timer ||= setTimeout(reload, TOGETHER);
  };
  const readAll = () => {
    reloadSoon();
    readHistory(id, take, stop.signal).catch(() => {});
  };

  const unsubscribe = taskEvents.subscribe({
    events(events) {
      const own = events.filter((event) => event.taskId === id);
      retries.happened(events);
      if (own.length === 0) return;
      take(own);
      reloadSoon();
    },
    resync: readAll,
  });
  void loader.load();
  readHistory(id, take, stop.signal).catch(() => {});

  /** @param {string} what */
  const ask = (what) => async () => {
    const { task } = await request({ method: "POST", path: `${path}/${what}` });
    store.dispatch({ type: "read", task });
  };
  const beingCancelled = () => (store.state.task?.cancelRequested ? "Its cancellation was asked for; the call is being cut off." : "");
  const cancel = createAction({ label: "Cancel", icon: "ban", scope: "tasks:write", done: "Cancelled", act: ask("cancel"), danger: true, barred: beingCancelled });
  const runNow = createAction({ label: "Run now", icon: "zap", scope: "tasks:write", done: "May start", act: ask("run-now"), again: true });
  const retries = createRetries(() => reloadSoon());
  const resend = createAction({ label: "Send the webhook again", icon: "webhook", scope: "tasks:write", done: "On its way", act: ask("webhook/redeliver") });

  /** @param {any} task */
  const actions = (task) => html`<p class="actions">
      ${task.completedAt ? nothing : cancel.view()}
      ${EARLY.includes(why.value?.blockedBy?.kind) ? runNow.view() : nothing}
      ${["dead", "timeout"].includes(task.endReason) && (!task.replayedAs || retries.probe(id)) ? retries.view(id, id, "Try it again") : nothing}
      ${task.completedAt ? html`<a class="button" href=${href(`/tasks/${id}/replay`)}>${icon("rotate-ccw")}Replay as new</a>` : nothing}
      ${task.completedAt && task.onCompleteUrl ? resend.view() : nothing}
    </p>
    ${cancel.problem()} ${runNow.problem()} ${resend.problem()}`;

  return {
    title: `Task …${id.slice(-10)}`,
    requests: () => [path, `${path}/explain`, `${path}/events`, calls.path].map((one) => ({ method: "GET", path: one })),
    actions: () => {
      const { task } = store.peek();
      if (!task) return [];
      return task.completedAt ? [["Replay this task", () => go(href(`/tasks/${id}/replay`)), "rotate-ccw"]] : [["Cancel this task", cancel.press, "ban"], ["Run this task now", runNow.press, "zap"]];
    },
    view: () => html`<h1>Task …${id.slice(-10)}</h1>
      <p><a href=${href("/tasks")}>All tasks</a></p>
      ${loaded(loader, () => {
        const { task, events } = store.state;
        return html`${head(task, events)} ${why.value?.blockedBy ? html`<p><strong>Why does it wait?</strong> ${blockedSentence(why.value)}</p>` : nothing} ${warningList(warnings)} ${actions(task)} ${claimPane(task)} ${timeline(task)}
          <h2>Attempts</h2>
          ${attemptTable(task)} ${plan && !task.completedAt ? planTable(plan) : nothing} ${exchange(task)} ${calls.view(task)}
          <h2>Terms</h2>
          ${terms(task)}
          <h2>Events</h2>
          ${eventTable(events)}
          <p><a href=${href("/activity", { taskId: id })}>Activity of this task</a></p>`;
      })}`,
    dispose() {
      stop.abort();
      calls.dispose();
      unsubscribe();
      loader.dispose();
      clearTimeout(timer);
      clearTimeout(again);
    },
  };
}
