// The operations, newest first: what each does to which tasks, how far it has come, and steering it.
import { activityEvents, actorName, badge, createStillList, empty, href, html, nothing, readPeople, repeat, table, time, whyNot } from "../../kit.js";
import { createSteering } from "./steer.js";
import { ACTIONS, progressWords, STATES, whichWords } from "./words.js";

const PATH = "/v1/operations";
const COLUMNS = ["Operation", "State", "Progress", "Tasks", "Begun", "Reason", "Actions"];

export function open() {
  const list = createStillList({
    page: "/operations",
    path: () => PATH,
    rowsOf: ({ operations }) => operations,
    feeds: [activityEvents],
    concerns: ({ type }) => type.startsWith("operation."),
    noun: "operation",
    // How far one has come is told by no event of the activity.
    loaded({ operations }) {
      if (operations.some(({ state }) => state === "running")) list.soon();
    },
  });
  const steering = createSteering(() => void list.reload());
  void readPeople();

  /** @param {any} operation */
  const row = (operation) => html`<tr data-row=${operation.id}>
    <th scope="row"><a class="row-link" href=${href(`/operations/${operation.id}`)}>${ACTIONS[operation.action]?.[0] ?? operation.action} …${operation.id.slice(-6)}</a></th>
    <td>${badge(STATES[operation.state])}</td>
    <td class="wide">${progressWords(operation)}</td>
    <td class="wide">${whichWords(operation)}</td>
    <td>${time(operation.createdAt)} by <span title=${operation.createdBy}>${actorName(operation.createdBy)}</span></td>
    <td class="wide">${operation.reason ?? nothing}</td>
    <td>${steering.view(operation)}</td>
  </tr>`;
  const barred = whyNot("tasks:write");

  return {
    title: "Operations",
    requests: () => [{ method: "GET", path: PATH }],
    view: () => html`<h1>Operations</h1>
      <p>One thing done to many tasks, in the background. Begin one from a filter of the <a href=${href("/tasks")}>tasks</a> or of the <a href=${href("/dead-letters/list")}>dead letters</a>.</p>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      ${list.view((rows) =>
        rows.length > 0
          ? html`${table("Operations", COLUMNS, repeat(rows, ({ id }) => id, row), ", newest first")}<p class="fine">All that are not over, and the last 100 that are. <a href=${href("/activity", { type: "operation." })}>The activity tells of all</a></p>`
          : empty("No operation was begun yet", html`<p>Filter tasks, and choose what is to be done to all that match.</p>`),
      )}`,
    dispose: list.dispose,
  };
}
