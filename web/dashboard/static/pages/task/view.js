// How a task looks.
import { copyButton, counted, href, html, length, nothing, now, number, quoted, repeat, size, statusBadge, svg, table, time } from "../../kit.js";
import { pairs, pretty } from "./calls.js";
import { sentence } from "./sentence.js";
import { nextTry } from "./state.js";
import { placed, spans, WIDTH } from "./timeline.js";

/** @param {any} task @param {any[]} events */
export function head(task, events) {
  const at = task.completedAt ? 0 : now();
  return html`<p class="sentence">${statusBadge(task.status, task.ok)} ${sentence(task, nextTry(events), at)}</p>
    <p class="fine"><code>${task.id}</code> ${copyButton(task.id, "id")} Accepted ${time(task.createdAt)}.
      ${task.replayOf ? html`Does again ${other(task.replayOf)}.` : nothing} ${task.replayedAs ? html`Done again as ${other(task.replayedAs)}.` : nothing}</p>`;
}

/** A link to another task. @param {string} id */
function other(id) {
  return html`<a href=${href(`/tasks/${id}`)}><code>…${id.slice(-10)}</code></a>`;
}

/** @param {any} task */
export function timeline(task) {
  const all = placed(spans(task, task.completedAt ? 0 : now()));
  const whole = all.length > 0 ? all.at(-1).span.to - all[0].span.from : 0;
  const words = all.map(({ span }) => `${span.label}, ${length(span.to - span.from)}`).join("; ");
  return html`<figure class="timeline">
    <svg viewBox="0 0 ${WIDTH} 40" preserveAspectRatio="none" role="img" aria-label=${`From left to right: ${words}`}>
      ${all.map(
        ({ span, x, width }) =>
          svg`<rect class=${`${span.kind} ${span.tone}`} x=${x} y=${span.kind === "attempt" ? 4 : 17} width=${width} height=${span.kind === "attempt" ? 32 : 6}><title>${span.label}, ${length(span.to - span.from)}</title></rect>`,
      )}
    </svg>
    <figcaption class="fine">${length(whole)} from left to right; tall bars are calls of the target, the thin line is waiting.</figcaption>
  </figure>`;
}

/** Which worker holds a task that is claimed, for how long still, and how far it has come. @param {any} task */
export function claimPane(task) {
  if (!task.claim) return nothing;
  const { worker, leaseUntil, progress } = task.claim;
  return html`<p>${worker ? html`The worker <a href=${href(`/workers/${encodeURIComponent(worker)}`)}>${worker}</a>` : "A worker without a name"} holds it. Unless it sends a heartbeat, its lease is over ${time(leaseUntil)}.</p>
    ${progress
      ? html`<p><meter aria-label="How far its worker has come" min="0" max="100" value=${progress.percent}></meter> ${progress.percent} %${progress.message ? `, ${progress.message}` : nothing}, as it said ${time(progress.at)}</p>`
      : nothing}`;
}

/** @param {any} task */
export function attemptTable(task) {
  if (!task.attempts?.length) return html`<p>No attempt was made yet.</p>`;
  const isClaimed = task.attempts.some(({ worker }) => worker);
  const rows = task.attempts.map(
    (attempt) => html`<tr>
      <th scope="row">${attempt.number}</th>
      ${isClaimed ? html`<td>${attempt.worker}</td>` : nothing}
      <td>${time(attempt.startedAt)}</td>
      <td>${attempt.duration === null ? "" : length(attempt.duration)}</td>
      <td>${attempt.statusCode ?? ""}</td>
      <td>${attempt.error ?? (attempt.duration === null && task.status !== "processing" ? "Its outcome is unknown: it was lost with its worker, and is made again" : "")}</td>
    </tr>`,
  );
  return table("Attempts", ["Attempt", ...(isClaimed ? ["Worker"] : []), "Began", "Took", "Status", "What went wrong"], rows, ", oldest first");
}

/** @param {Record<string, string | string[]> | null} headers */
function headerList(headers) {
  const all = pairs(headers);
  if (all.length === 0) return html`<p class="fine">No headers.</p>`;
  return html`<dl class="headers">${all.map(([name, value]) => html`<div><dt>${name}</dt><dd><code>${value}</code></dd></div>`)}</dl>`;
}

/** Characters of a body that are put on the page. */
const SHOWN = 20_000;

/** @param {string | null} body @param {string | undefined} encoding @param {number | null} bytes @param {string} label */
function bodyPane(body, encoding, bytes, label) {
  if (body === null || body === "") return html`<p class="fine">${bytes ? `${size(bytes)}, not kept` : "No body."}</p>`;
  const text = encoding === "base64" ? body : pretty(body);
  const note = encoding === "base64" ? "bytes that are no text, as base64" : "";
  return html`<pre tabindex="0" aria-label=${label}><code>${text.slice(0, SHOWN)}</code></pre>
    <p class="fine">${bytes === null ? "" : size(bytes)} ${note} ${text.length > SHOWN ? `The first ${number(SHOWN)} characters are shown.` : ""} ${copyButton(body, label)}</p>`;
}

/** The call of the target as a line for a shell. @param {any} task */
export function targetCurl(task) {
  const words = ["curl", "-sS", "-X", task.method, quoted(task.targetUrl)];
  for (const [name, value] of Object.entries(task.headers)) words.push("-H", quoted(`${name}: ${value}`));
  if (task.body && !task.bodyEncoding) words.push("--data-raw", quoted(task.body));
  return words.join(" ");
}

/** @param {any} task */
export function exchange(task) {
  const result = task.result;
  if (task.withheld) {
    return html`<p><code>${task.method} ${task.targetUrl}</code>${result ? html`: <strong>${result.statusCode}</strong> in ${length(result.duration)}` : nothing}</p>
      <p>Bodies and headers are not shown to viewers of this team; an owner can change that.</p>`;
  }
  return html`<div class="panes">
    <section aria-labelledby="request-title">
      <h2 id="request-title">Request</h2>
      <p>${task.targetUrl ? html`<code>${task.method} ${task.targetUrl}</code>` : "Claimed by workers, not called."}</p>
      ${headerList(task.headers)} ${bodyPane(task.body, task.bodyEncoding, task.bodyBytes, "Body of the request")}
      ${task.targetUrl ? html`<p>Call of the target as curl: ${copyButton(() => targetCurl(task), "call of the target")}</p>` : nothing}
    </section>
    <section aria-labelledby="answer-title">
      <h2 id="answer-title">Answer</h2>
      ${result
        ? html`<p><strong>${result.statusCode}</strong> in ${length(result.duration)}</p>
            ${headerList(result.headers)} ${bodyPane(result.body, result.bodyEncoding, result.bodyBytes, "Body of the answer")}`
        : html`<p class="fine">${task.completedAt ? "No answer ended this task." : "The target has given no final answer yet."}</p>`}
    </section>
  </div>`;
}

/** @param {any} task */
export function terms(task) {
  const given = [
    ["Queue", html`<a href=${href(`/queues/${task.queue}`)}>${task.queue}</a>`],
    ["Workflow", task.workflow ? html`<a href=${href(`/workflows/${task.workflow.id}`)}>…${task.workflow.id.slice(-10)}</a>, in which it is ${task.workflow.name}` : null],
    ["Priority", task.priority],
    ["Retries", `${task.retryCount} of ${task.maxRetries}`],
    ["Pauses", Array.isArray(task.retryBackoff) ? task.retryBackoff.map((seconds) => length(seconds * 1000)).join(", ") : task.retryBackoff],
    ["Limit of an attempt", `${task.timeout} s`],
    ["Success is", task.success ?? "any answer below 500 but 408, 425 and 429; ok tells whether it was a 2xx"],
    ["Not before", time(task.delayUntil)],
    ["Deadline", time(task.deadline)],
    ["Tags", task.tags.map((tag) => html`<a href=${href("/tasks", { tag })}>${tag}</a> `)],
    ["Metadata", Object.entries(task.metadata).map(([name, value]) => html`<code>${name}=${value}</code> `)],
    ["Webhook", task.onCompleteUrl ? webhook(task) : nothing],
  ];
  const isSet = ([, value]) => value !== nothing && value !== null && !(Array.isArray(value) && value.length === 0);
  return html`<dl class="terms">${given.filter(isSet).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** @param {any} task */
function webhook(task) {
  const { status, attempts, statusCode, error, nextAttemptAt } = task.webhook;
  const how = statusCode ? `, answered ${statusCode}` : error ? `: ${error}` : "";
  const next = nextAttemptAt ? html`, next try ${time(nextAttemptAt)}` : nothing;
  return html`<code>${task.onCompleteUrl}</code> ${status.replace("_", " ")} after ${counted(attempts, "delivery", "deliveries")}${how}${next}`;
}

/** What of the request has no effect. @param {{field: string, message: string}[]} warnings */
export function warningList(warnings) {
  if (warnings.length === 0) return nothing;
  return html`<ul class="warnings">${warnings.map(({ field, message }) => html`<li><code>${field}</code>: ${message}</li>`)}</ul>`;
}

/** The attempts as the API planned them when the task was sent. @param {any[]} plan */
export function planTable(plan) {
  return html`<section aria-labelledby="plan-title">
    <h2 id="plan-title">Planned attempts</h2>
    <p class="fine">When attempts are made, should each one fail: told by the API when the task was sent from here.</p>
    ${table(
      "Planned attempts",
      ["Attempt", "Pause before it", "At the earliest", "At the latest", "Before the deadline"],
      plan.map(
        (attempt) => html`<tr><th scope="row">${attempt.number}</th><td>${length(attempt.pause * 1000)}</td><td>${time(attempt.earliest)}</td><td>${time(attempt.latest)}</td><td>${attempt.fits}</td></tr>`,
      ),
    )}
  </section>`;
}

/** @param {any} event */
function detail(event) {
  const parts = [];
  if (event.attempt) parts.push(`${event.type.startsWith("task.callback") ? "delivery" : "attempt"} ${event.attempt}`);
  if (event.statusCode) parts.push(`status ${event.statusCode}`);
  if (event.duration !== undefined) parts.push(length(event.duration));
  if (event.error) parts.push(event.error);
  return parts.join(", ");
}

/** @param {any[]} events */
export function eventTable(events) {
  const row = (event) => html`<tr data-event=${event.id}>
    <td><code>${number(event.id)}</code></td><td>${time(event.at)}</td><th scope="row">${event.type.slice(5).replaceAll("_", " ")}</th>
    <td>${detail(event)}${event.retryAt ? html`, next one ${Date.parse(event.retryAt) > now() ? "due" : "was due"} ${time(event.retryAt)}` : nothing}</td><td><code>${event.actor}</code></td>
  </tr>`;
  return table("Events", ["Position", "When", "What", "More", "By"], repeat(events, ({ id }) => id, row), ", oldest first");
}
