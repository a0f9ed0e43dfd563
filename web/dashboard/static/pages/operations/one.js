// One operation: how far it has come, for which tasks it is, and which refused it.
import {
  activityEvents, actorName, badge, createReading, go, here, href, html, loaded, nothing, number, readPeople, rowShortcuts, setShortcuts, table,
  time,
} from "../../kit.js";
import { createSteering } from "./steer.js";
import { ACTIONS, progressWords, STATES, whichWords } from "./words.js";

/** @param {Record<string, string>} parameters */
export function open({ id }) {
  const path = `/v1/operations/${id}`;
  const reading = createReading({
    page: here().path,
    path: () => path,
    feeds: [activityEvents],
    concerns: ({ type, target }) => type.startsWith("operation.") && target?.id === id,
    loaded({ operation }) {
      if (operation.state === "running") reading.soon();
    },
  });
  const steering = createSteering((operation, verb) => (verb === "undo" ? go(href(`/operations/${operation.id}`)) : void reading.reload()));
  void readPeople();
  setShortcuts("This page", rowShortcuts);

  /** @param {any} operation */
  const about = (operation) => {
    const { createdAt, createdBy, pausedAt, pausedBy, endedAt, cancelledBy, undoes, reason, rate, priority } = operation;
    const line = (name, value) => (value ? html`<div><dt>${name}</dt><dd>${value}</dd></div>` : nothing);
    return html`<dl class="terms">
      ${line("Tasks", whichWords(operation))} ${line("Undoes", undoes && html`<a href=${href(`/operations/${undoes}`)}>…${undoes.slice(-6)}</a>`)} ${line("Reason", reason)} ${line("Priority", priority)}
      ${line("Begun", html`${time(createdAt)} by <span title=${createdBy}>${actorName(createdBy)}</span>`)} ${line("Rate", `${number(rate)} a second at most`)}
      ${line("Paused", pausedAt && html`${time(pausedAt)} by ${actorName(pausedBy)}`)} ${line("Ended", endedAt && html`${time(endedAt)}${cancelledBy ? html`, cancelled by ${actorName(cancelledBy)}` : nothing}`)}
    </dl>`;
  };

  /** @param {any} operation */
  const refusals = ({ refusals, refused }) => html`<h2>Refused</h2>
    ${table(
      "Tasks that refused it",
      ["Task", "Why", "Code"],
      refusals.map(
        (one) => html`<tr data-row=${one.id}>
          <th scope="row"><a class="row-link" href=${href(`/tasks/${one.id}`)}><code>…${one.id.slice(-10)}</code></a></th>
          <td class="wide">${one.error}</td>
          <td><code>${one.code}</code></td>
        </tr>`,
      ),
    )}
    ${refused > refusals.length ? html`<p class="fine">The first ${number(refusals.length)} of ${number(refused)}.</p>` : nothing}`;

  return {
    title: "Operation",
    requests: () => [{ method: "GET", path }],
    view: () => html`<h1>Operation</h1>
      <p><a href=${href("/operations")}>All operations</a>, <code>${id}</code></p>
      ${loaded(reading.loader, ({ operation }) => {
        const { action, state, matched, done, refused } = operation;
        return html`<p class="sentence">${ACTIONS[action]?.[0] ?? action}: ${badge(STATES[state])} ${progressWords(operation)}</p>
          <p><meter aria-label="Progress" min="0" max=${Math.max(1, matched)} value=${done + refused}></meter></p>
          ${state === "completed" && done + refused < matched ? html`<p class="fine">The others did not match any more when their turn came, and were left alone.</p>` : nothing}
          <p class="actions">${steering.view(operation)}</p>
          ${about(operation)} ${refused > 0 ? refusals(operation) : nothing}`;
      })}`,
    dispose: reading.dispose,
  };
}
