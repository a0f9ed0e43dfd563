// The deliveries of webhooks: which stand how, what each was answered, and sending them again, one or all that are selected.
import { createBulk, createForm, createStillList, empty, field, here, href, html, icon, nothing, number, repeat, request, setQuery, signal, submitButton, table, time, whyNot, withQuery } from "../../kit.js";

export const STATES = ["pending", "delivered", "given_up"];
const SCOPE = "tasks:write";
/** What a row shows. */
const FIELDS = "status,webhook,onCompleteUrl,completedAt";
const COLUMNS = ["Select", "State", "Task", "Where to", "Deliveries", "Last answer", "Next try", "Task ended"];

export function createDeliveries() {
  const state = () => here().query.get("state") ?? "given_up";
  const cursor = () => here().query.get("cursor") ?? "";
  const path = () => withQuery("/v1/tasks", { kind: "all", webhook: state(), limit: 50, cursor: cursor(), fields: FIELDS });
  /** @type {string[]} */
  let shown = [];
  const bulk = createBulk({
    ids: () => shown,
    noun: "webhook",
    scope: SCOPE,
    page: (id) => `/tasks/${id}`,
    verbs: [
      {
        name: "Resend",
        past: "on their way",
        shape: "webhook",
        words: "Each is delivered once more, with the id that it had: a receiver that knows it already can tell.",
        keep: "Send none",
        call: (id) => ({ method: "POST", path: `/v1/tasks/${id}/webhook/redeliver` }),
      },
    ],
    done: () => void list.reload(),
  });
  const list = createStillList({
    page: "/webhooks",
    path,
    rowsOf: ({ tasks }) => tasks,
    concerns: ({ type, ok }) => type.startsWith("task.callback") || ok !== undefined,
    rarer: 3,
    noun: "delivery",
    plural: "deliveries",
    shortcuts: bulk.shortcuts,
    loaded({ tasks }) {
      shown = tasks.map(({ id }) => id);
    },
  });
  /** @param {any} task */
  const row = ({ id, webhook, onCompleteUrl, completedAt }) => html`<tr data-row=${id}>
    <td>${bulk.box(id)}</td>
    <td>${webhook.status.replace("_", " ")}</td>
    <th scope="row"><a class="row-link" href=${href(`/tasks/${id}`, webhook.attempts > 0 ? { call: `delivery ${webhook.attempts}` } : {})} title="The request and its answer">…${id.slice(-10)}</a></th>
    <td class="wide"><code>${onCompleteUrl}</code></td>
    <td>${number(webhook.attempts)}</td>
    <td class="wide">${webhook.statusCode ?? webhook.error ?? nothing}</td>
    <td>${webhook.nextAttemptAt ? time(webhook.nextAttemptAt) : nothing}</td>
    <td>${time(completedAt)}</td>
  </tr>`;
  /** The task whose end is the sample. */
  const sent = signal("");
  // It is cancelled before it is due, so nothing is called but the webhook.
  const sample = createForm(async ({ url }) => {
    sent.value = "";
    const { task } = await request({ method: "POST", path: "/v1/tasks", body: { targetUrl: url, delay: "1h", onCompleteUrl: url, tags: ["sample"] } });
    await request({ method: "POST", path: `/v1/tasks/${task.id}/cancel` });
    sent.value = task.id;
  });
  const barred = whyNot(SCOPE);

  return {
    path,
    state,
    view: () => html`<h2>Deliveries</h2>
      <p class="chips" role="group" aria-label="Which deliveries">
        ${STATES.map((one) => html`<button type="button" class="chip" aria-pressed=${one === state()} @click=${() => setQuery({ state: one, cursor: "" })}>${one.replace("_", " ")}</button>`)}
      </p>
      ${bulk.view()}
      ${list.view((rows, { pagination }) => html`${rows.length > 0 ? table("Deliveries", COLUMNS, repeat(rows, ({ id }) => id, row), ", newest task first") : empty(`No webhook is ${state().replace("_", " ")}`)}
        ${pagination?.nextCursor ? html`<p><button type="button" @click=${() => setQuery({ cursor: pagination.nextCursor })}>Older</button></p>` : nothing}`)}`,
    sample: () => html`<form @submit=${sample.submit}>
      ${sample.problem(["targetUrl", "onCompleteUrl"])}
      <fieldset ?disabled=${barred !== ""}>
        <legend>Send a sample</legend>
        <p class="fine">A task is made and cancelled at once, so that its end is told, signed like any other. Nothing else is called.</p>
        ${field(sample, { name: "url", label: "Where to", type: "url" })}
        <p class="actions">${submitButton(sample, "Send it")} ${sent.value ? html`<span role="status">It is on its way: <a href=${href(`/tasks/${sent.value}`)}>${icon("webhook")}see what is answered</a></span>` : nothing}</p>
      </fieldset>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
    </form>`,
    dispose: list.dispose,
  };
}
