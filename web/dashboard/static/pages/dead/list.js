// Dead letters one by one, filtered: those of a cause, or all.
import {
  createStillList, createViews, empty, filterForm, filtersIn, here, href, html, icon, nothing, repeat, searchedNote, setQuery, table, taskEvents, time, without,
  withQuery,
} from "../../kit.js";
import { purgeAll, retryAll } from "./causes.js";
import { createRetries } from "./retry.js";

/** @type {import("../../ui/filters.js").Texts} */
const TEXTS = [
  ["host", "Host", "api.example.com"],
  ["httpStatus", "Last answer", "503 or 5xx"],
  ["errorContains", "Error", "Part of it"],
  ["queue", "Queues", "Separated by commas"],
  ["tag", "Tags", "All of them, separated by commas"],
  ["minAttempts", "Attempts", "At least"],
  ["actor", "Created by", "Id of a key, person or application"],
  ["q", "Search", "Part of an id, URL or queue"],
];
/** @type {import("../../ui/filters.js").Choices} */
const CHOICES = [["retried", "Also those tried again", ["true", "false"]]];
const NAMES = [...TEXTS, ...CHOICES].map(([name]) => name);
const COLUMNS = ["Task", "Target", "Queue", "Attempts", "Answer", "Error", "Died", "Try again"];

export function open() {
  const filters = () => filtersIn(NAMES, here().query);
  const cursor = () => here().query.get("cursor") ?? "";
  const path = () => withQuery("/v1/dead-letters", { limit: 50, ...filters(), cursor: cursor() });
  const views = createViews({ list: "dead_letters", page: "/dead-letters/list", filters });
  const list = createStillList({
    page: "/dead-letters/list",
    path,
    concerns: ({ ok }) => ok === false && !cursor(),
    rarer: 5,
    rowsOf: (page) => page.deadLetters,
    noun: "dead letter",
  });
  const retries = createRetries(() => {});
  const end = taskEvents.subscribe({ events: retries.happened, resync() {} });

  /** @param {any} letter */
  const row = (letter) => html`<tr data-row=${letter.id}>
    <th scope="row"><a class="row-link" href=${href(`/tasks/${letter.id}`)}><code title=${letter.id}>…${letter.id.slice(-10)}</code></a></th>
    <td class="target">${letter.targetUrl ? html`<code>${letter.method}</code> <span title=${letter.targetUrl}>${letter.targetUrl}</span>` : "claimed by workers"}</td>
    <td><a href=${href(`/queues/${letter.queue}`)}>${letter.queue}</a></td>
    <td>${letter.attempts}</td>
    <td>${letter.httpStatus ?? "none"}</td>
    <td class="wide">${letter.error ?? letter.endReason}</td>
    <td>${time(letter.completedAt)}</td>
    <td>
      ${letter.retriedAs ? html`<a href=${href(`/tasks/${letter.retriedAs}`)}>Tried as …${letter.retriedAs.slice(-10)}</a>` : retries.view(letter.id, letter.id, "Retry")}
    </td>
  </tr>`;

  const nothingHere = (next) => {
    if (next) return html`<p>Nothing of what was looked at matches.</p>`;
    if (cursor()) return empty("No older dead letters");
    const clear = html`<p><button type="button" @click=${() => setQuery(without(NAMES))}>Clear the filters</button></p>`;
    return Object.keys(filters()).length > 0 ? empty("No dead letter matches these filters", clear) : empty("Nothing is dead");
  };

  return {
    title: "Dead letters, one by one",
    requests: () => [{ method: "GET", path: path() }, views.request],
    view: () => html`<h1>Dead letters, one by one</h1>
      <p><a href=${href("/dead-letters")}>By their causes</a></p>
      ${views.view()} ${filterForm({
        label: "Filter dead letters",
        filters: filters(),
        set: (changes) => setQuery({ cursor: "", ...changes }),
        texts: TEXTS,
        choices: CHOICES,
        failure: list.loader.state.failure,
      })}
      ${list.view(
        (rows, page) => {
          const { nextCursor } = page.pagination;
          return html`${rows.length === 0 ? nothingHere(nextCursor) : table("Dead letters", COLUMNS, repeat(rows, (letter) => letter.id, row), ", newest first")}
            <p class="footer">
              ${searchedNote(page.searched)} ${cursor() ? html`<a href=${href("/dead-letters/list", filters())}>Newest</a>` : nothing}
              ${nextCursor ? html`<button type="button" @click=${() => setQuery({ cursor: nextCursor })}>Older</button>` : nothing}
            </p>
            ${rows.length > 0 ? html`<p class="actions"><a class="button" href=${retryAll(filters())}>${icon("list-checks")}Retry all that match…</a> <a class="button" href=${purgeAll(filters())}>${icon("trash-2")}Purge all that match…</a></p>` : nothing}`;
        },
        NAMES,
      )}`,
    dispose() {
      end();
      list.dispose();
      views.dispose();
    },
  };
}
