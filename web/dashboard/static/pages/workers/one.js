// One worker: how it does, what it said about itself, and which tasks it holds until when.
import {
  activityEvents, actorName, badge, createInventory, empty, go, here, href, html, length, nothing, number, readPeople, repeat, table, taskEvents, time, whyNot,
} from "../../kit.js";
import { pauseWords } from "../queues/page.js";
import { createSteering, pathOf } from "./steer.js";
import { STATES, stateWords } from "./words.js";

/** As in the list. */
const OFTEN = 10_000;

/** @param {Record<string, string>} parameters */
export function open({ name }) {
  const path = pathOf(name);
  const list = createInventory({
    page: here().path,
    path: () => path,
    rowsOf: ({ worker }) => worker.claims,
    types: [],
    feeds: [taskEvents, activityEvents],
    concerns: ({ type, target }) => (type.startsWith("worker.") ? target?.id === name : type.startsWith("task.")),
    noun: "claim",
    rarer: 2,
    loaded({ worker }) {
      steering.seen([worker]);
      list.soon(Date.now() + OFTEN);
    },
  });
  const steering = createSteering(() => list, () => {
    go(href("/workers"));
    return true;
  });
  void readPeople();

  /** @param {any} worker */
  const about = ({ lastSeenAt, registration }) => {
    const line = (words, value) => (value ? html`<div><dt>${words}</dt><dd>${value}</dd></div>` : nothing);
    const { queues = [], host, version, maxConcurrency, beatSeconds, by, since } = registration ?? {};
    return html`<dl class="terms">
        ${line("Last heard of", lastSeenAt ? time(lastSeenAt) : "not since the owners of its partitions changed")}
        ${line("Takes tasks of", queues.map((queue, n) => html`${n ? ", " : ""}<a href=${href(`/queues/${queue}`)}>${queue}</a>`))}
        ${line("Machine", host)} ${line("Version", version)} ${line("At a time", maxConcurrency && number(maxConcurrency))}
        ${line("Beats every", beatSeconds && length(beatSeconds * 1000))} ${line("Known", since && html`${time(since)}, registered by ${actorName(by)}`)}
      </dl>
      ${registration ? nothing : html`<p class="fine">It said nothing about itself: it only claims.</p>`}`;
  };

  /** @param {any} claim */
  const row = ({ id, taskId, queue, attempt, leaseEndsAt }) => html`<tr data-row=${id}>
    <th scope="row"><a class="row-link" href=${href(`/tasks/${taskId}`)}><code title=${taskId}>…${taskId.slice(-10)}</code></a></th>
    <td><a href=${href(`/queues/${queue}`)}>${queue}</a></td>
    <td>${number(attempt)}</td>
    <td>${time(leaseEndsAt)}</td>
  </tr>`;

  return {
    title: `Worker ${name}`,
    requests: () => [{ method: "GET", path }],
    actions: () => (whyNot("queues:write") ? [] : [["Drain this worker", () => steering.drain(name), "pause"]]),
    view: () => html`<h1>Worker ${name}</h1>
      <p><a href=${href("/workers")}>All workers</a></p>
      ${list.view((rows, { worker }) => html`<p class="sentence">${badge(STATES[worker.state])} ${stateWords(worker)}</p>
        ${worker.drain ? html`<p>Drained ${pauseWords(worker.drain)}.</p>` : nothing}
        <p class="actions">${steering.view(worker)}</p>
        ${whyNot("queues:write") ? html`<p class="fine">${whyNot("queues:write")}</p>` : nothing}
        ${about(worker)}
        <h2>What it holds</h2>
        ${rows.length > 0
          ? html`${table("Tasks that it holds", ["Task", "Queue", "Attempt", "Its lease is over"], repeat(rows, ({ id }) => id, row))}
              ${worker.held > rows.length ? html`<p class="fine">${number(rows.length)} of ${number(worker.held)}.</p>` : nothing}`
          : empty("It holds no task")}`)}`,
    dispose: list.dispose,
  };
}
