// How the list of tasks looks.
import { html, nothing, repeat } from "../../ui/lit.js";
import { now } from "../../core/clock.js";
import { href } from "../../core/location.js";
import { empty } from "../../ui/state.js";
import { attemptDots, statusBadge } from "../../ui/status.js";
import { table } from "../../ui/table.js";
import { time } from "../../ui/time.js";
import { counted, length, number } from "../../ui/words.js";
import { CHOICES, noFilters, presets, STATUSES, TEXTS, toggled } from "./filters.js";

/** @typedef {import("./filters.js").Filters} Filters */

/** @param {Filters} filters @param {(changes: Filters) => void} set */
export function filterBar(filters, set) {
  const submitted = (event) => {
    event.preventDefault();
    set(Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value)])));
  };
  const chosen = (filters.status ?? "").split(",");
  return html`<form class="filters" role="search" aria-label="Filter tasks" @submit=${submitted}>
    <p class="chips">
      ${presets(Date.now()).map(
        ([name, wanted]) => html`<button type="button" class="chip" aria-pressed=${isSame(filters, wanted)} @click=${() => set({ ...noFilters(), ...wanted })}>${name}</button>`,
      )}
    </p>
    <fieldset class="chips">
      <legend>Status</legend>
      ${STATUSES.map(
        (status) => html`<button type="button" class="chip" aria-pressed=${chosen.includes(status)} @click=${() => set({ status: toggled(filters.status ?? "", status) })}>
          ${status}
        </button>`,
      )}
    </fieldset>
    <div class="inputs">
      ${TEXTS.map(
        ([name, label, hint], n) => html`<label
          >${label} <input name=${name} type="search" placeholder=${hint} .value=${filters[name] ?? ""} ?data-search=${n === 0} />
        </label>`,
      )}
      ${CHOICES.map(
        ([name, label, values]) => html`<label
          >${label}
          <select name=${name} @change=${(event) => set({ [name]: event.target.value })}>
            <option value="" .selected=${!filters[name]}>any</option>
            ${values.map((value) => html`<option value=${value} .selected=${filters[name] === value}>${value.replace("_", " ")}</option>`)}
          </select></label
        >`,
      )}
      <button type="submit">Filter</button>
    </div>
    ${period(filters, set)}
  </form>`;
}

/** A chip is pressed when just its filters are set; of a time, any counts. @param {Filters} filters @param {Filters} wanted */
function isSame(filters, wanted) {
  const names = new Set([...Object.keys(filters), ...Object.keys(wanted)]);
  return [...names].every((name) => (name === "createdAfter" ? Boolean(filters[name]) === Boolean(wanted[name]) : filters[name] === wanted[name]));
}

function period(filters, set) {
  if (!filters.createdAfter && !filters.createdBefore) return nothing;
  const clear = () => set({ createdAfter: "", createdBefore: "" });
  return html`<p class="fine">
    Accepted ${filters.createdAfter ? html`since ${time(filters.createdAfter)}` : nothing}
    ${filters.createdBefore ? html`before ${time(filters.createdBefore)}` : nothing}
    <button type="button" class="quiet small" @click=${clear}>Any time</button>
  </p>`;
}

/** @param {any} task */
function took(task) {
  if (!task.startedAt) return "";
  const end = task.completedAt ? Date.parse(task.completedAt) : now();
  return length(Math.max(0, end - Date.parse(task.startedAt)));
}

/** @param {any} task */
function row(task) {
  return html`<tr data-row=${task.id} class=${task.changed ? "changed" : ""}>
    <td>${statusBadge(task.status, task.ok)}</td>
    <th scope="row"><a class="row-link" href=${href(`/tasks/${task.id}`)}><code title=${task.id}>…${task.id.slice(-10)}</code></a></th>
    <td class="target"><code>${task.method}</code> <span title=${task.targetUrl}>${task.targetUrl}</span></td>
    <td><a href=${href(`/queues/${task.queue}`)}>${task.queue}</a></td>
    <td>${attemptDots(task)}</td>
    <td>${time(task.createdAt)}</td>
    <td>${took(task)}</td>
    <td>${task.retryAt ? time(task.retryAt) : nothing}</td>
  </tr>`;
}

/** @param {any[]} rows @param {string} label */
export function taskTable(rows, label) {
  const columns = ["Status", "Id", "Target", "Queue", "Attempts", "Accepted", "Took", "Next try"];
  return table(label, columns, repeat(rows, (task) => task.id, row), ", newest first");
}

/** @param {import("./state.js").ListState} state @param {{filters: Filters, clear: () => void, older: () => void, cursor: string}} more */
export function list(state, { filters, clear, older, cursor }) {
  if (state.rows.length === 0) return nothingHere(filters, clear, cursor);
  const { total, totalExact, nextCursor } = /** @type {import("./state.js").Pagination} */ (state.pagination);
  return html`${taskTable(state.rows, "Tasks")}
    <p class="footer">
      <span>${totalExact ? counted(total, "task") : `At least ${number(total)} tasks`}${Object.keys(filters).length > 0 ? " match" : ""}</span>
      ${cursor ? html`<a href=${href("/tasks", filters)}>Newest</a>` : nothing}
      ${nextCursor ? html`<button type="button" @click=${older}>Older</button>` : nothing}
    </p>`;
}

/** @param {Filters} filters @param {() => void} clear @param {string} cursor */
function nothingHere(filters, clear, cursor) {
  if (cursor) return empty("No older tasks", html`<p><a href=${href("/tasks", filters)}>Newest</a></p>`);
  if (Object.keys(filters).length > 0) {
    return empty("Nothing matches these filters", html`<p><button type="button" @click=${clear}>Clear the filters</button></p>`);
  }
  return empty("No task was sent yet", html`<p><a href=${href("/tasks/new")}>Send the first one</a>. Ended tasks are kept for 30 days unless the operator says otherwise.</p>`);
}
