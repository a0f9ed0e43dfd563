// The workflows, newest first: how each stands and how far it has come.
import { createStillList, empty, here, href, html, icon, length, nothing, now, presetChips, repeat, setQuery, statusBadge, table, taskEvents, time, withQuery } from "../../kit.js";
import { nameOf, progressWords, STATUSES } from "./words.js";

const PATH = "/v1/workflows";
const COLUMNS = ["Workflow", "Status", "Progress", "Tasks", "Queue", "Made", "Took"];

export function open() {
  const asked = (name) => here().query.get(name) ?? "";
  const path = () => withQuery(PATH, { status: asked("status"), cursor: asked("cursor") });
  const list = createStillList({
    page: "/workflows",
    path,
    rowsOf: ({ workflows }) => workflows,
    feeds: [taskEvents],
    rarer: 3,
    noun: "workflow",
  });
  const chips = [["All", {}], ...STATUSES.map((status) => [status, { status }])];

  /** @param {any} workflow */
  const row = (workflow) => {
    const { id, status, progress, queue, createdAt, startedAt, completedAt } = workflow;
    return html`<tr data-row=${id}>
      <th scope="row"><a class="row-link" href=${href(`/workflows/${id}`)}>${nameOf(workflow)}</a></th>
      <td>${statusBadge(status)}</td>
      <td><meter aria-label=${`Ended of ${nameOf(workflow)}`} min="0" max="100" value=${progress.percent}></meter> ${progress.percent} %</td>
      <td class="wide">${progressWords(progress)}</td>
      <td><a href=${href(`/queues/${queue}`)}>${queue}</a></td>
      <td>${time(createdAt)}</td>
      <td>${startedAt ? length(Math.max(0, (completedAt ? Date.parse(completedAt) : now()) - Date.parse(startedAt))) : nothing}</td>
    </tr>`;
  };
  const none = () => {
    if (asked("cursor")) return empty("No older workflow");
    if (asked("status")) return empty("No workflow stands like this", html`<p><button type="button" @click=${() => setQuery({ status: "" })}>${icon("x")}Clear the filter</button></p>`);
    return empty("No workflow was made yet", html`<p>One is made with all of its tasks: <code>POST /v1/workflows</code>. It is kept as long as they are.</p>`);
  };

  return {
    title: "Workflows",
    requests: () => [{ method: "GET", path: path() }],
    view: () => html`<h1>Workflows</h1>
      <p>Tasks that were made together, of which some run after others.</p>
      ${presetChips(chips, ({ status = "" }) => status === asked("status"), ({ status = "" }) => setQuery({ status, cursor: "" }))}
      ${list.view((rows, { nextCursor }) => html`${rows.length > 0 ? table("Workflows", COLUMNS, repeat(rows, ({ id }) => id, row), ", newest first") : nextCursor ? html`<p>Nothing of what was looked at stands like this.</p>` : none()}
        ${nextCursor ? html`<p><button type="button" @click=${() => setQuery({ cursor: nextCursor })}>Older</button></p>` : nothing}`)}`,
    dispose: list.dispose,
  };
}
