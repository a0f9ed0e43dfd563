// Composing a task. What has no effect is refused by the API before anything is sent, and so is said here.
import {
  createAction, createLoader, createRepeatKey, createStore, currentTeam, effect, environment, failurePanel, get, go, here, href, html, meta, nothing,
  presetChips, request, signal, untracked,
} from "../../kit.js";
import { changes, firstDraft, firstTries, reduce, requestOf } from "./draft.js";
import { form, isBesideField, source } from "./view.js";

/** The draft of each team and environment outlives a visit to another page, and a sign-in over this one. @type {Map<string, ReturnType<typeof createStore<import("./draft.js").Draft, import("./draft.js").DraftEvent>>>} */
const drafts = new Map();

/** @param {string} replay Id of the task that is done again; empty: none. */
function ownDraft(replay) {
  const key = `${currentTeam()?.id} ${environment()} ${replay}`;
  const known = drafts.get(key);
  const store = known ?? createStore(reduce, firstDraft(window.location.origin));
  drafts.set(key, store);
  return { store, isNew: !known };
}

/** @param {Record<string, string>} parameters `id`: of the task that is done again. */
export function open({ id: replay = "" }) {
  const { store, isNew } = ownDraft(replay);
  const tries = () => firstTries(window.location.origin + meta().sink);
  const wanted = here().query.get("try");
  // What it is replaced with is known once the installation has told whether it has a target for first tries.
  const stopTry = effect(() => {
    if (!wanted || !meta().sink) return;
    const found = tries().find(([name]) => name === wanted);
    if (found) untracked(() => store.dispatch({ type: "replaced", task: found[2] }));
  });
  const queue = here().query.get("queue");
  if (queue) store.dispatch({ type: "set", field: "queue", value: queue });
  const strict = signal(true);
  const repeatKey = createRepeatKey();

  /** The request of the task that is done again. @type {{value: Record<string, any> | null}} */
  const before = signal(null);
  const loader = createLoader((stop) => get(`/v1/tasks/${replay}`, { signal: stop }), {
    loaded({ task }) {
      before.value = requestOf(task);
      if (isNew) store.dispatch({ type: "replaced", task: before.value });
    },
  });
  if (replay) void loader.load();

  const call = () => ({
    method: "POST",
    path: `${replay ? `/v1/tasks/${replay}/replay` : "/v1/tasks"}?explain=retries`,
    body: replay ? changes(before.value ?? {}, store.state.task) : store.state.task,
    headers: strict.value ? { prefer: "handling=strict" } : {},
  });

  const send = createAction({
    label: "Send",
    icon: "send",
    scope: "tasks:write",
    primary: true,
    done: "Accepted",
    barred: () => store.state.wrong || (replay && !before.value ? "The task is being read." : ""),
    async act() {
      const { method, path, body, headers } = call();
      const answer = await request({ method, path, body, headers: { ...headers, "idempotency-key": repeatKey(body) } });
      go(href(`/tasks/${answer.task.id}`), { state: { plan: answer.retries, warnings: answer.warnings ?? [] } });
    },
  });

  const typed = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      void send.press();
    }
  };

  return {
    title: replay ? "Replay a task" : "New task",
    requests: () => [call()],
    dispose() {
      stopTry();
      loader.dispose();
    },
    view: () => html`<h1>${replay ? "Replay a task" : "New task"}</h1>
      ${replay
        ? html`<p>
              Makes a new task of the request of <a href=${href(`/tasks/${replay}`)}>…${replay.slice(-10)}</a>. Only what you change is sent; what you take out stays as it was. Dates are not taken over.
            </p>
            ${failurePanel(loader.state.failure, { retry: loader.load })}`
        : nothing}
      ${!replay && meta().sink
        ? html`<p>For first tries this machine has a target, <code>${meta().sink}</code>, that takes everything, and fails as often as it is told to:</p>
            ${presetChips(
              tries().map(([, name, task]) => [name, task]),
              (task) => JSON.stringify(task) === JSON.stringify(store.state.task),
              (task) => store.dispatch({ type: "replaced", task }),
            )}`
        : nothing}
      <div class="composer" @keydown=${typed}>
        ${form(store.state, store.dispatch, send.failure)} ${source(store.state, store.dispatch)}
      </div>
      ${send.failure && !isBesideField(send.failure) ? failurePanel(send.failure) : nothing}
      <p>
        <label class="inline"
          ><input type="checkbox" .checked=${strict.value} @change=${(event) => (strict.value = event.target.checked)} />
          Refuse a task of which something would have no effect</label
        >
      </p>
      <p class="actions at-hand">${send.view()} <span class="fine"><kbd>Ctrl</kbd> <kbd>Enter</kbd> sends and opens the task, with its planned attempts.</span></p>`,
  };
}
