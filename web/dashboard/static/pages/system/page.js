// What the gateway that answers can serve now, and how full the log is. More of the system stands in its metrics.
import { html, nothing } from "../../ui/lit.js";
import { Failure } from "../../core/failure.js";
import { createReading } from "../../core/reading.js";
import { loaded } from "../../ui/state.js";
import { badge, SHAPES } from "../../ui/status.js";
import { table } from "../../ui/table.js";
import { size } from "../../ui/words.js";

const PATH = "/readyz?verbose";
/** How often it is asked, in milliseconds: no event tells of a change. */
const OFTEN = 5000;

/** What is served, in words. @type {[string, string][]} */
const KINDS = [
  ["reads", "Reading tasks, lists and statistics"],
  ["creations", "Accepting tasks"],
  ["revocations", "Taking rights away: revoking, removing, signing out"],
];

/** Answers also when it is not ready, and then says why. @param {AbortSignal} signal */
async function read(signal) {
  const response = await fetch(PATH, { signal }).catch((error) => {
    if (signal.aborted) throw error;
    throw Failure.unreachable();
  });
  const answer = await response.json().catch(() => null);
  if (!answer?.status) throw Failure.answered(response, answer);
  return answer;
}

export function open() {
  const reading = createReading({ page: "/system", path: () => PATH, feeds: [], read, loaded: () => reading.soon(Date.now() + OFTEN) });
  const look = (isReady) => badge(isReady ? ["ready", SHAPES.done, "good"] : ["not served", SHAPES.off, "bad"]);

  /** @param {{usedBytes: number, limitBytes: number, owedBytes: number, highWaterBytes: number}} log */
  const room = ({ usedBytes, limitBytes, owedBytes, highWaterBytes }) => html`<h2>The log of tasks</h2>
    <p><meter aria-label="Room in the log that is used" min="0" max=${limitBytes} high=${highWaterBytes} optimum="0" value=${usedBytes + owedBytes}></meter></p>
    <dl class="terms">
      <div><dt>Used</dt><dd>${size(usedBytes)} of ${size(limitBytes)}</dd></div>
      <div><dt>For open tasks to end</dt><dd>${size(owedBytes)}</dd></div>
      <div><dt>Tasks are accepted</dt><dd>while both together are under ${size(highWaterBytes)}</dd></div>
    </dl>`;

  return {
    title: "System",
    requests: () => [{ method: "GET", path: PATH }],
    view: () => html`<h1>System</h1>
      <p>Of the gateway that answers this page. Workers, projectors and the log are in the metrics, and the alerts name the page of the operator's manual for each.</p>
      ${loaded(reading.loader, (serving) => html`<p class="sentence">${serving.status === "ready" ? "All of it is served." : `It is ${serving.status.replaceAll("_", " ")}.`}</p>
        ${table(
          "What is served",
          ["Requests", "State", "Code", "Why not"],
          KINDS.filter(([name]) => serving[name]).map(
            ([name, words]) => html`<tr>
              <th scope="row">${words}</th>
              <td>${look(serving[name].ready)}</td>
              <td>${serving[name].code ? html`<code>${serving[name].code}</code>` : nothing}</td>
              <td class="wide">${serving[name].reason ?? nothing}</td>
            </tr>`,
          ),
        )}
        ${serving.problems?.length > 0 ? html`<h2>Problems</h2><ul>${serving.problems.map(({ code, reason }) => html`<li><code>${code}</code>: ${reason}</li>`)}</ul>` : nothing}
        ${serving.log ? room(serving.log) : nothing}`)}`,
    dispose: reading.dispose,
  };
}
