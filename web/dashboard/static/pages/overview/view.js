// How the overview looks: four questions and their answers.
import { counted, empty, figures, href, html, nothing, number, table, time } from "../../kit.js";
import { sum } from "./rates.js";

/** Whether it is well, in one sentence with its cause. @param {import("./causes.js").Cause[]} failures @param {number} count @param {boolean} isAll */
export function health(failures, count, isAll) {
  if (count === 0) return "Healthy: no task failed in the last 24 hours.";
  const [worst] = failures;
  const many = isAll ? counted(count, "task") : `At least ${counted(count, "task")}`;
  return `${many} failed in the last 24 hours; most often ${worst.host}: ${worst.error} (${number(worst.count)}).`;
}

/** Statuses of tasks that have not ended, and of those that have. */
const OPEN = ["pending", "delayed", "processing"];
const ENDED = ["completed", "failed", "timeout", "cancelled"];

/** @param {any} counts @param {string[]} statuses */
function countsOf(counts, statuses) {
  return html`<ul class="figures">
    ${statuses.map((status) => html`<li><a href=${href("/tasks", { status })}><strong>${number(counts[status])}</strong> ${status}</a></li>`)}
  </ul>`;
}

/** @param {any} usage Of the environment. @param {any} last The task that ended last with success. */
export function counts(usage, last) {
  const { tasks } = usage;
  return html`<section aria-labelledby="now-title">
    <h2 id="now-title">What is there?</h2>
    ${tasks.total === 0
      ? empty("No task was sent yet", html`<p><a href=${href("/tasks/new")}>Send the first one</a></p>`)
      : html`${countsOf(tasks, OPEN)} ${countsOf(tasks, ENDED)}
          <p class="fine">${tasks.exact ? "" : "At least; there are more queues than are counted. "}${last ? html`The last success was ${time(last.completedAt)}.` : nothing}</p>`}
  </section>`;
}

/** @param {import("./causes.js").Cause[]} failures @param {{isAll: boolean, since: string, count: number}} what */
export function failureList(failures, { isAll, since, count }) {
  return html`<section aria-labelledby="failed-title">
    <h2 id="failed-title">What failed lately?</h2>
    ${failures.length === 0
      ? html`<p>Nothing, in the last 24 hours.</p>`
      : html`${table(
            "Causes of failures in the last 24 hours",
            ["Target", "Error", "Tasks", "Last"],
            failures.slice(0, 10).map(
              (cause) => html`<tr>
                <th scope="row">${cause.host}</th>
                <td>${cause.error}</td>
                <td><a href=${href("/tasks", { status: "failed,timeout", target: cause.target, createdAfter: since })}>${number(cause.count)}</a></td>
                <td>${time(cause.last)}</td>
              </tr>`,
            ),
            ", most frequent first",
          )}
          <p class="fine">${isAll ? "" : `Of the latest ${number(count)}. `}<a href=${href("/tasks", { status: "failed,timeout", createdAfter: since })}>See all</a></p>`}
  </section>`;
}

/** @param {import("./rates.js").Rates} rates @param {any} stats */
export function happening(rates, stats) {
  const minute = sum(rates, 60);
  return html`<section aria-labelledby="happening-title">
    <h2 id="happening-title">What is happening?</h2>
    <p>
      In the last minute, since this page was opened: <span class="live-minute">${counted(minute.accepted, "task")} accepted, ${number(minute.succeeded)} succeeded, ${number(minute.failed)} failed</span>.
    </p>
    ${figures(stats)}
  </section>`;
}
