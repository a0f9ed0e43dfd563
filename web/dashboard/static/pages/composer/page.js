// Composing a task. What has no effect is refused by the API before anything is sent, and so is said here.
import { html, nothing } from "../../ui/lit.js";
import { signal } from "../../vendor/signals-core/signals-core.js";
import { request } from "../../core/api.js";
import { go, href } from "../../core/location.js";
import { createRepeatKey } from "../../core/random.js";
import { createStore } from "../../core/store.js";
import { currentTeam, environment } from "../../core/team.js";
import { createAction } from "../../ui/action.js";
import { failurePanel } from "../../ui/failure.js";
import { firstDraft, reduce } from "./draft.js";
import { form, isBesideField, source } from "./view.js";

/** The draft of each team and environment outlives a visit to another page, and a sign-in over this one. @type {Map<string, ReturnType<typeof createStore<import("./draft.js").Draft, import("./draft.js").DraftEvent>>>} */
const drafts = new Map();

function ownDraft() {
  const key = `${currentTeam()?.id} ${environment()}`;
  let store = drafts.get(key);
  if (!store) {
    store = createStore(reduce, firstDraft(window.location.origin));
    drafts.set(key, store);
  }
  return store;
}

export function open() {
  const store = ownDraft();
  const strict = signal(true);
  const repeatKey = createRepeatKey();

  const call = () => ({
    method: "POST",
    path: "/v1/tasks?explain=retries",
    body: store.state.task,
    headers: strict.value ? { prefer: "handling=strict" } : {},
  });

  const send = createAction({
    label: "Send",
    icon: "send",
    scope: "tasks:write",
    done: "Accepted",
    barred: () => store.state.wrong,
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
    title: "New task",
    requests: () => [call()],
    view: () => html`<h1>New task</h1>
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
      <p class="actions">${send.view()} <span class="fine"><kbd>Ctrl</kbd> <kbd>Enter</kbd> sends and opens the task, with its planned attempts.</span></p>`,
  };
}
