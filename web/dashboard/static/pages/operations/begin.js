// Beginning an operation: the address says what is to be done to which tasks, the API counts them first.
import {
  counted, createForm, createReading, createRepeatKey, empty, field, filtersIn, go, here, href, html, icon, length, loaded, nothing, number,
  numeric, request, setQuery, signal, statusBadge, submitButton, table, time, whyNot,
} from "../../kit.js";
import { ACTIONS, NAMES, wantedFilter } from "./words.js";

const PREVIEW = "/v1/operations/preview";
/** Above so many the number has to be typed. */
const MANY = 100;

export function open() {
  const wanted = () => {
    const { query } = here();
    const rate = query.get("rate") ?? "";
    const action = query.get("action") ?? "cancel";
    const priority = action === "changePriority" ? { priority: numeric(query.get("priority") || "10") } : {};
    return { action, ...priority, filter: wantedFilter(filtersIn(NAMES, query)), ...(rate ? { rate: numeric(rate) } : {}) };
  };
  const barred = whyNot("tasks:write");
  return barred ? notAllowed(barred) : beginning(wanted);
}

/** @param {string} barred */
function notAllowed(barred) {
  return { title: "Begin an operation", view: () => html`<h1>Begin an operation</h1>${empty("Operations are for those who may change tasks", html`<p>${barred}</p>`)}` };
}

/** @param {() => {action: string, filter: any, rate?: number | string, priority?: number | string}} wanted */
function beginning(wanted) {
  const typed = signal("");
  const repeatKey = createRepeatKey();
  // Counting changes nothing, but is asked by POST, since a filter may be long.
  const reading = createReading({
    page: "/operations/new",
    path: () => JSON.stringify(wanted()),
    feeds: [],
    read: async (stop, asked) => ({ asked, preview: await request({ method: "POST", path: PREVIEW, body: JSON.parse(asked), signal: stop }) }),
  });
  const form = createForm(async ({ reason }) => {
    const body = { ...wanted(), ...(reason ? { reason } : {}) };
    const { operation } = await request({ method: "POST", path: "/v1/operations", body, headers: { "idempotency-key": repeatKey(body) } });
    go(href(`/operations/${operation.id}`), { replace: true });
  });

  /** @param {{matched: number, seconds: number, examples: any[]}} preview @param {string} verb */
  const confirm = ({ matched, seconds, examples }, verb) => {
    if (matched === 0) return empty("No task matches", html`<p>Nothing would be done. <a href=${href("/tasks", filtersIn(NAMES, here().query))}>Look at the filter among the tasks</a></p>`);
    const isPurge = wanted().action === "purge";
    const isMany = isPurge || matched > MANY;
    const isBarred = isMany && typed.value.replaceAll(/[\s,.]/g, "") !== String(matched);
    return html`<p class="sentence">${counted(matched, "task")}, in ${length(Math.max(1, seconds) * 1000)} at that rate.</p>
      ${table(
        "Some of the tasks",
        ["Task", "Status", "Queue", "Target", "Error", "Accepted"],
        examples.map(
          (task) => html`<tr>
            <th scope="row"><a href=${href(`/tasks/${task.id}`)}><code>…${task.id.slice(-10)}</code></a></th>
            <td>${statusBadge(task.status)}</td>
            <td>${task.queue}</td>
            <td class="target" title=${task.targetUrl ?? ""}>${task.targetUrl ?? "claimed by workers"}</td>
            <td class="wide">${task.error ?? nothing}</td>
            <td>${time(task.createdAt)}</td>
          </tr>`,
        ),
      )}
      <p class="fine">${examples.length < matched ? `${number(examples.length)} of them. ` : ""}It is for the tasks that match when it begins; each is looked at again when its turn comes.</p>
      ${isPurge ? html`<p class="irreversible"><strong>This cannot be undone.</strong> Each can still be read and replayed by its id, and is among the dead letters no more.</p>` : nothing}
      <form @submit=${form.submit}>
        ${form.problem(["reason"])}
        ${isMany
          ? html`<p><label>Type <strong>${number(matched)}</strong> to go on <input autocomplete="off" inputmode="numeric" id="typed" @input=${(event) => (typed.value = event.target.value)} /></label></p>`
          : nothing}
        ${field(form, { name: "reason", label: "Reason", required: false, hint: "For your colleagues, who see it beside the operation." })}
        <p class="actions">
          ${isBarred ? html`<button type="submit" disabled>${verb} ${counted(matched, "task")}</button>` : submitButton(form, `${verb} ${counted(matched, "task")}`)}
          <a href=${href("/operations")}>Do not</a>
        </p>
      </form>`;
  };

  return {
    title: "Begin an operation",
    requests: () => [
      { method: "POST", path: PREVIEW, body: wanted() },
      { method: "POST", path: "/v1/operations", body: wanted() },
    ],
    view: () => {
      const { action, rate, priority } = wanted();
      const [verb, what] = ACTIONS[action] ?? [action, "tasks"];
      const conditions = Object.entries(filtersIn(NAMES, here().query));
      return html`<h1>${verb} all that match</h1>
        <p>For ${what}.</p>
        ${conditions.length > 0
          ? html`<p class="chips">${conditions.map(([name, value]) => html`<button type="button" class="chip" @click=${() => setQuery({ [name]: "" })}>${icon("x")}<span class="unseen">Take out </span>${name}: ${value}</button>`)}</p>`
          : html`<p class="notice"><strong>No filter: every task.</strong></p>`}
        <form class="filters" aria-label="What is done" @submit=${(event) => {
          event.preventDefault();
          const { rate, priority, before } = event.currentTarget.elements;
          const until = before?.value ? { completedBefore: new Date(before.value).toISOString() } : {};
          setQuery({ rate: rate.value.trim(), priority: priority?.value.trim() ?? "", ...until });
        }}>
          <div class="inputs">
            <label
              >Do what
              <select name="action" @change=${(event) => setQuery({ action: event.target.value })}>
                ${["cancel", "retry", "replay", "changePriority", ...(action === "purge" ? ["purge"] : [])].map((name) => html`<option value=${name} .selected=${name === action}>${ACTIONS[name][0].toLowerCase()}</option>`)}
              </select></label
            >
            ${action === "changePriority" ? html`<label>Priority, 1 to 10 <input name="priority" inputmode="numeric" value=${priority} /></label>` : nothing}
            ${action === "purge" ? html`<label>Ended before, your local time <input name="before" type="datetime-local" /></label>` : nothing}
            <label>Tasks a second <input name="rate" inputmode="numeric" placeholder="100" value=${rate ?? ""} /></label>
            <button type="submit">Count again</button>
          </div>
        </form>
        ${loaded(reading.loader, ({ asked, preview }) =>
          // What was counted for another filter says nothing about this one.
          asked === JSON.stringify(wanted()) ? confirm(preview, verb) : html`<p class="loading">Counting</p>`,
        )}`;
    },
    dispose: reading.dispose,
  };
}
