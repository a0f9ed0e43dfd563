// How the activity looks.
import { empty, filterForm, href, html, nothing, number, presetChips, repeat, table, time, without } from "../../kit.js";
import { CHOICES, NAMES, presets, TEXTS, TIMES } from "./filters.js";
import { what, toWhat, who } from "./sentence.js";
import { keyOf } from "./state.js";

/** An ISO time as the field of a form wants it: local, without its zone. @param {string} iso */
function local(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? "" : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** @param {Record<string, string>} filters @param {(changes: Record<string, string>) => void} set @param {import("../../core/failure.js").Failure | null} failure */
export function filterBar(filters, set, failure) {
  const read = (given) => ({ ...given, ...Object.fromEntries(TIMES.map((name) => [name, given[name] ? new Date(given[name]).toISOString() : ""])) });
  const isSame = (wanted) => {
    const names = new Set([...Object.keys(filters), ...Object.keys(wanted)]);
    return [...names].every((name) => filters[name] === wanted[name]);
  };
  const first = html`${presetChips(presets(), isSame, (wanted) => set({ ...without(NAMES), ...wanted }))}
    ${filters.taskId
      ? html`<p class="chips"><button type="button" class="chip" aria-pressed="true" @click=${() => set({ taskId: "" })}>Task …${filters.taskId.slice(-10)}: all tasks</button></p>`
      : nothing}`;
  const more = TIMES.map(
    (name) => html`<label>${name === "after" ? "Since" : "Before"} <input name=${name} type="datetime-local" .value=${filters[name] ? local(filters[name]) : ""} /></label>`,
  );
  return filterForm({ label: "Filter activity", filters, set, texts: TEXTS, choices: CHOICES, failure, first, more, read });
}

/** @param {any} entry */
function about(entry) {
  const target = toWhat(entry);
  if (!target) return nothing;
  const name = html`<code title=${target.id}>${target.kind === "task" ? `…${target.id.slice(-10)}` : target.name}</code>`;
  return html`${target.kind} ${target.kind === "task" ? html`<a href=${href(`/tasks/${target.id}`)}>${name}</a>` : name}`;
}

/** @param {any} entry @param {(entry: any) => unknown} seal */
function row(entry, seal) {
  return html`<tr data-row=${keyOf(entry)} class=${entry.outcome === "refused" ? "refused" : ""}>
    <td>${time(entry.at)}</td>
    <th scope="row" class="wide">
      <a class="row-link" href=${href("/activity", { actor: entry.actor })} title=${entry.actor}>${who(entry)}</a> ${what(entry)} ${about(entry)}
    </th>
    <td><code>${entry.type}</code></td>
    <td>${entry.environment ?? ""}</td>
    <td>${entry.source ? html`<code title=${entry.userAgent ?? ""}>${entry.source}</code>` : ""}</td>
    <td>${entry.requestId ? html`<code>${entry.requestId}</code>` : ""}</td>
    <td><code title=${`Position in the log ${entry.stream}`}>${number(entry.seq)}</code></td>
    <td>${seal(entry)}</td>
  </tr>`;
}

/** @param {import("./state.js").ActivityState} state @param {{clear: () => void, older: () => void, isFiltered: boolean, cursor: string, seal: (entry: any) => unknown}} more */
export function list(state, { clear, older, isFiltered, cursor, seal }) {
  const further = state.next ? html`<button type="button" @click=${older}>Older</button>` : nothing;
  if (state.entries.length === 0) {
    // A page can be empty and still have a next one.
    if (state.next) return html`<p>Nothing on this page matches. ${further}</p>`;
    if (cursor) return empty("No older activity");
    return isFiltered ? empty("Nothing matches these filters", html`<p><button type="button" @click=${clear}>Clear the filters</button></p>`) : empty("Nothing has happened yet");
  }
  const columns = ["When", "Who did what", "Event", "Environment", "From", "Request", "Position", "Proof"];
  return html`${table("Activity", columns, repeat(state.entries, keyOf, (entry) => row(entry, seal)), ", newest first")}
    <p class="footer">${cursor ? html`<button type="button" @click=${clear}>Newest</button>` : nothing} ${further}</p>`;
}
