// How the list of tasks looks.
import {
  attemptDots, counted, empty, filterForm, href, html, icon, length, nothing, now, number, presetChips, repeat, searchedNote, session, statusBadge, table,
  time, without,
} from "../../kit.js";
import { CHOICES, NAMES, presets, STATUSES, TEXTS, toggled } from "./filters.js";

/** @typedef {import("./filters.js").Filters} Filters */

/** @param {Filters} filters @param {(changes: Filters) => void} set @param {import("../../core/failure.js").Failure | null} failure */
export function filterBar(filters, set, failure) {
  const chosen = (filters.status ?? "").split(",");
  const first = html`${presetChips(presets(Date.now(), session().me?.user.id), (wanted) => isSame(filters, wanted), (wanted) => set({ ...without(NAMES), ...wanted }))}
    <fieldset class="chips">
      <legend>Status</legend>
      ${STATUSES.map(
        (status) => html`<button type="button" class="chip" aria-pressed=${chosen.includes(status)} @click=${() => set({ status: toggled(filters.status ?? "", status) })}>
          ${status}
        </button>`,
      )}
    </fieldset>`;
  return html`${filterForm({ label: "Filter tasks", filters, set, texts: TEXTS, choices: CHOICES, failure, first })} ${period(filters, set)}`;
}

/** A chip is pressed when just its filters are set; of a time, any counts. @param {Filters} filters @param {Filters} wanted */
function isSame(filters, wanted) {
  const names = new Set([...Object.keys(filters), ...Object.keys(wanted)]);
  return [...names].every((name) => (name.startsWith("created") ? Boolean(filters[name]) === Boolean(wanted[name]) : filters[name] === wanted[name]));
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

/** @param {any} task @param {((id: string) => unknown) | undefined} box */
function row(task, box) {
  return html`<tr data-row=${task.id} class=${task.changed ? "changed" : ""}>
    ${box ? html`<td>${box(task.id)}</td>` : nothing}
    <td>${statusBadge(task.status, task.ok)}</td>
    <th scope="row"><a class="row-link" href=${href(`/tasks/${task.id}`)}><code title=${task.id}>…${task.id.slice(-10)}</code></a></th>
    <td class="target">${task.targetUrl ? html`<code>${task.method}</code> <span title=${task.targetUrl}>${task.targetUrl}</span>` : "claimed by workers"}</td>
    <td><a href=${href(`/queues/${task.queue}`)}>${task.queue}</a></td>
    <td>${attemptDots(task)}</td>
    <td>${time(task.createdAt)}</td>
    <td>${took(task)}</td>
    <td>${task.retryAt ? time(task.retryAt) : nothing}</td>
  </tr>`;
}

/** @param {any[]} rows @param {string} label @param {(id: string) => unknown} [box] By which a row is selected. */
export function taskTable(rows, label, box) {
  const columns = ["Status", "Id", "Target", "Queue", "Attempts", "Accepted", "Took", "Next try"];
  return table(label, box ? ["Select", ...columns] : columns, repeat(rows, (task) => task.id, (task) => row(task, box)), ", newest first");
}

/** @param {import("./state.js").ListState} state @param {{filters: Filters, clear: () => void, older: () => void, cursor: string, box: (id: string) => unknown, files: {view: () => unknown, problem: () => unknown}}} more */
export function list(state, { filters, clear, older, cursor, box, files }) {
  const further = state.pagination?.nextCursor ? html`<button type="button" @click=${older}>Older</button>` : nothing;
  if (state.rows.length === 0) {
    // What was looked at may have nothing that matches, and what is older may.
    return further === nothing ? nothingHere(filters, clear, cursor) : html`<p class="footer"><span>Nothing of what was looked at matches.</span> ${searchedNote(state.searched)} ${further}</p>`;
  }
  const { total, totalExact } = /** @type {import("./state.js").Pagination} */ (state.pagination);
  return html`${taskTable(state.rows, "Tasks", box)}
    <p class="footer">
      <span>${totalExact ? counted(total, "task") : `At least ${number(total)} tasks`}${Object.keys(filters).length > 0 ? " match" : ""}</span>
      ${searchedNote(state.searched)} ${cursor ? html`<a href=${href("/tasks", filters)}>Newest</a>` : nothing}
      ${further}
    </p>
    <p class="actions">
      <span class="fine">To all that match:</span>
      ${["cancel", "replay"].map((action) => html`<a class="button" href=${href("/operations/new", { ...filters, action })}>${icon("list-checks")}${action === "cancel" ? "Cancel" : "Replay"}…</a>`)}
      ${files.view()}
    </p>
    ${files.problem()}`;
}

/** @param {Filters} filters @param {() => void} clear @param {string} cursor */
function nothingHere(filters, clear, cursor) {
  if (cursor) return empty("No older tasks", html`<p><a href=${href("/tasks", filters)}>Newest</a></p>`);
  if (Object.keys(filters).length > 0) {
    return empty("Nothing matches these filters", html`<p><button type="button" @click=${clear}>Clear the filters</button></p>`);
  }
  return empty("No task was sent yet", html`<p><a href=${href("/tasks/new")}>Send the first one</a>. Ended tasks are kept for 30 days unless the operator says otherwise.</p>`);
}
