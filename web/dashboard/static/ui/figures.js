// What happened to tasks in the last hour, of all queues or of one: a chart, the sums, and how long tasks waited and took.
import { html, nothing } from "./lit.js";
import { get, withQuery } from "../core/api.js";
import { chart } from "./chart.js";
import { failurePanel } from "./failure.js";
import { empty } from "./state.js";
import { table } from "./table.js";
import { counted, length, number } from "./words.js";

/** @param {string} [queue] */
export function statsPath(queue) {
  return withQuery("/v1/stats", { window: "1h", step: "10s", queue });
}

/** The figures, or why they cannot be read: a page has more to show than them. @param {string} path @param {AbortSignal} signal */
export function readStats(path, signal) {
  return get(path, { signal }).catch((failure) => ({ failure }));
}

/** Series of the chart: name, tone, and their value in a step. @type {[string, string, (step: any) => number][]} */
const SERIES = [
  ["accepted", "accent", ({ accepted }) => accepted],
  ["succeeded", "good", ({ succeeded }) => succeeded],
  ["failed", "bad", failed],
];

/** Tasks that ended without a success and were not cancelled. @param {any} figures */
export function failed({ ended, succeeded }) {
  return ended.completed + ended.failed + ended.timeout - succeeded;
}

/** @param {string} what @param {{p50: number | null, p95: number | null, p99: number | null}} seconds */
function percentiles(what, seconds) {
  return html`<tr><th scope="row">${what}</th>${["p50", "p95", "p99"].map((name) => html`<td>${seconds[name] === null ? "none" : length(seconds[name] * 1000)}</td>`)}</tr>`;
}

/** @param {any} answer @param {string} [queue] */
export function figures(answer, queue) {
  if (answer.failure) return failurePanel(answer.failure);
  const of = queue === undefined ? answer.all : answer.queues.find((one) => one.queue === queue);
  if (!of || (of.accepted === 0 && of.attemptsFailed === 0 && Object.values(of.ended).every((count) => count === 0))) return empty("Nothing happened in the last hour");
  const words = { accepted: counted(of.accepted, "task") + " accepted", succeeded: `${number(of.succeeded)} succeeded`, failed: `${number(failed(of))} failed` };
  const { cancelled } = of.ended;
  return html`<p>
      In the last hour: ${SERIES.map(([name, tone]) => html`<span class=${`key ${tone}`}>${words[name]}</span>, `)}${number(cancelled)} cancelled;
      ${counted(of.attemptsFailed, "attempt")} failed.
    </p>
    ${chart(
      SERIES.map(([, tone, value]) => [tone, of.steps.map(value)]),
      { room: of.steps.length, from: "1 h ago", unit: `in ${length(answer.step * 1000)} at most` },
    )}
    ${table("How long tasks waited and took in the last hour", ["Of the tasks", "half, at most", "95 %", "99 %"], [percentiles("waited for their first attempt", of.wait), percentiles("took until their end", of.total)])}
    ${answer.truncated && queue === undefined ? html`<p class="fine">There are more queues than are counted.</p>` : nothing}`;
}
