// Dead letters by their causes: what failed for good, how often, since when; and one of each tried again as a probe.
import {
  counted, createStillList, empty, filtersIn, here, href, html, nothing, number, repeat, searchedNote, setQuery, table, taskEvents, time, withQuery,
} from "../../kit.js";
import { filtersOfCause, keyOf } from "./causes.js";
import { createRetries } from "./retry.js";

const COLUMNS = ["Host", "Answer", "Error", "Dead", "First", "Last", "Example", "Try one as a probe"];
/** How many times rarer than a list it is read by itself: the API looks at failed tasks one by one. */
const RARER = 5;

export function open() {
  const path = () => withQuery("/v1/dead-letters/groups", { limit: 100, ...filtersIn(["queue"], here().query) });
  const list = createStillList({
    page: "/dead-letters",
    path,
    concerns: ({ ok }) => ok === false,
    rarer: RARER,
    idOf: keyOf,
    rowsOf: (page) => page.groups,
    noun: "cause",
  });
  const retries = createRetries(() => list.soon());
  const end = taskEvents.subscribe({ events: retries.happened, resync() {} });

  /** @param {any} group */
  const row = (group) => {
    const letters = href("/dead-letters/list", { ...filtersOfCause(group), ...filtersIn(["queue"], here().query) });
    const probe = retries.probe(keyOf(group));
    return html`<tr data-row=${group.example}>
      <th scope="row"><a class="row-link" href=${letters}>${group.host}</a></th>
      <td>${group.httpStatus ?? "none"}</td>
      <td class="wide">${group.error}</td>
      <td><a href=${letters}>${number(group.count)}</a></td>
      <td>${time(group.firstAt)}</td>
      <td>${time(group.lastAt)}</td>
      <td><a href=${href(`/tasks/${group.example}`)}><code>…${group.example.slice(-10)}</code></a></td>
      <td>
        ${retries.view(keyOf(group), group.example, "Retry one")}
        ${probe?.ok && group.count > 1 ? html`<br />It works again: <a href=${letters}>retry the others</a>` : nothing}
      </td>
    </tr>`;
  };

  return {
    title: "Dead letters",
    requests: () => [{ method: "GET", path: path() }],
    view: () => {
      const { queue } = filtersIn(["queue"], here().query);
      return html`<h1>Dead letters</h1>
        <p>Tasks that failed for good, by the cause of their last failure. <a href=${href("/dead-letters/list")}>All of them, one by one</a></p>
        ${queue ? html`<p class="chips"><button type="button" class="chip" @click=${() => setQuery({ queue: "" })}>Queue ${queue}: all queues</button></p>` : nothing}
        ${list.view((rows, page) => {
          if (rows.length === 0) return nothingDead(page.searched);
          return html`${table("Causes", COLUMNS, repeat(rows, keyOf, row), ", most frequent first")}
            <p class="footer">
              <span>${counted(page.total, "dead letter")}${page.others > 0 ? `, ${number(page.others)} of them of further causes` : ""}.</span> ${searchedNote(page.searched)}
            </p>`;
        })}`;
    },
    dispose() {
      end();
      list.dispose();
    },
  };
}

/** @param {{tasks: number}} searched */
function nothingDead(searched) {
  return empty(
    "Nothing is dead",
    searched.tasks > 0 ? html`<p>What failed was tried again, replayed, or expired: <a href=${href("/tasks", { status: "failed,timeout" })}>failed tasks</a>.</p>` : html`<p>No task that is kept has failed.</p>`,
  );
}
