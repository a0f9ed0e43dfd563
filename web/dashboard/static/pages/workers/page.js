// The workers that pull: how each does, when it was last heard of, what it holds; draining it and taking it off the list.
import { activityEvents, badge, createInventory, createSort, empty, href, html, nothing, number, readPeople, taskEvents, time, whyNot } from "../../kit.js";
import { pauseWords } from "../queues/page.js";
import { createSteering } from "./steer.js";
import { aboutWords, STATES } from "./words.js";

const PATH = "/v1/workers";
/** How often it is read without an event, in milliseconds: beats are none. */
const OFTEN = 10_000;
/** @type {import("../../ui/sort.js").Column[]} */
const COLUMNS = [
  ["Worker", ({ name }) => name],
  ["State", ({ state }) => state],
  ["Heard of", ({ lastSeenAt }) => lastSeenAt],
  ["Holds", ({ held }) => held],
  ["At most", ({ registration }) => registration?.maxConcurrency],
  "Queues",
  ["Runs", ({ registration }) => aboutWords(registration)],
  "Actions",
];

export function open() {
  const list = createInventory({
    page: "/workers",
    path: () => PATH,
    idOf: ({ name }) => name,
    rowsOf: ({ workers }) => workers,
    types: [],
    feeds: [taskEvents, activityEvents],
    concerns: ({ type }) => type.startsWith("worker.") || type.startsWith("task."),
    noun: "worker",
    rarer: 3,
    loaded({ workers }) {
      steering.seen(workers);
      list.soon(Date.now() + OFTEN);
    },
  });
  const steering = createSteering(() => list);
  const sort = createSort(COLUMNS, ({ name }) => name);
  void readPeople();

  /** @param {any} worker */
  const row = (worker) => {
    const { name, state, lastSeenAt, waiting, held, registration, drain } = worker;
    return html`<tr data-row=${name}>
      <th scope="row"><a class="row-link" href=${href(`/workers/${encodeURIComponent(name)}`)}>${name}</a></th>
      <td class="wide">${badge(STATES[state])} ${drain ? pauseWords(drain) : waiting ? "waits for a task" : nothing}</td>
      <td>${lastSeenAt ? time(lastSeenAt) : "not lately"}</td>
      <td>${number(held)}</td>
      <td>${registration?.maxConcurrency ? number(registration.maxConcurrency) : nothing}</td>
      <td class="wide">${registration?.queues.join(", ") ?? nothing}</td>
      <td>${aboutWords(registration)}</td>
      <td>${steering.view(worker)}</td>
    </tr>`;
  };

  return {
    title: "Workers",
    requests: () => [{ method: "GET", path: PATH }],
    view: () => html`<h1>Workers</h1>
      <p>Programs of yours that claim tasks without a target. One is listed because it claims, and forgotten an hour after it was last heard of.</p>
      ${whyNot("queues:write") ? html`<p class="fine">${whyNot("queues:write")}</p>` : nothing}
      ${list.view((rows, page) =>
        rows.length > 0
          ? html`${sort.table("Workers", rows, row)} ${page.truncated ? html`<p class="fine">There are more than are shown.</p>` : nothing}`
          : empty("No worker was heard of within the last hour", html`<p>One is here as soon as it claims: <code>POST /v1/claims</code>. Tasks that are called need none.</p>`),
      )}`,
    dispose: list.dispose,
  };
}
