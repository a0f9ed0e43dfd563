// One task, live from its creation to its end.
import { html, nothing } from "../../ui/lit.js";
import { get, request } from "../../core/api.js";
import { taskEvents } from "../../core/live.js";
import { createLoader } from "../../core/loader.js";
import { here, href, restore } from "../../core/location.js";
import { createStore } from "../../core/store.js";
import { createAction } from "../../ui/action.js";
import { announce } from "../../ui/announce.js";
import { loaded } from "../../ui/state.js";
import { readHistory } from "./history.js";
import { sentence } from "./sentence.js";
import { noTask, reduce } from "./state.js";
import { attemptTable, eventTable, exchange, head, planTable, terms, timeline, warningList } from "./view.js";

/** Events that come together are one reason to read the task again, in milliseconds. */
const TOGETHER = 300;

/** @param {Record<string, string>} parameters */
export function open({ id }) {
  const store = createStore(reduce, noTask);
  const path = `/v1/tasks/${id}`;
  const stop = new AbortController();
  /** What the API told when it was sent from here. */
  const { plan = null, warnings = [] } = here().state ?? {};
  let timer = 0;

  const loader = createLoader((signal) => get(path, { signal }), {
    loaded({ task }) {
      const before = store.peek().task?.status;
      store.dispatch({ type: "read", task });
      // The sentence on the page counts down; what is read out changes with the status alone.
      if (before && before !== task.status) announce(sentence(task, null, 0));
      requestAnimationFrame(restore);
    },
  });
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
  const resend = createAction({ label: "Send the webhook again", icon: "webhook", scope: "tasks:write", done: "On its way", act: ask("webhook/redeliver") });

  /** @param {any} task */
  const actions = (task) => html`<p class="actions">
      ${task.completedAt ? nothing : cancel.view()}
      ${task.completedAt && task.onCompleteUrl ? resend.view() : nothing}
    </p>
    ${cancel.problem()} ${resend.problem()}`;

  return {
    title: `Task …${id.slice(-10)}`,
    requests: () => [{ method: "GET", path }, { method: "GET", path: `${path}/events` }],
    view: () => html`<h1>Task …${id.slice(-10)}</h1>
      <p><a href=${href("/tasks")}>All tasks</a></p>
      ${loaded(loader, () => {
        const { task, events } = store.state;
        return html`${head(task, events)} ${warningList(warnings)} ${actions(task)} ${timeline(task)}
          <h2>Attempts</h2>
          ${attemptTable(task)} ${plan && !task.completedAt ? planTable(plan) : nothing} ${exchange(task)}
          <h2>Terms</h2>
          ${terms(task)}
          <h2>Events</h2>
          ${eventTable(events)}
          <p><a href=${href("/activity", { taskId: id })}>Activity of this task</a></p>`;
      })}`,
    dispose() {
      stop.abort();
      unsubscribe();
      loader.dispose();
      clearTimeout(timer);
    },
  };
}
