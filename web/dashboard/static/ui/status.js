// The status of a task or a workflow by word and by shape, so that it does not depend on colour.
import { html, svg } from "./lit.js";

/** Word, shape and tone of each status. @type {Record<string, [string, string, string]>} */
const LOOKS = {
  pending: ["pending", "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z", "plain"],
  delayed: ["delayed", "M3 2h10v2L9.5 8l3.5 4v2H3v-2l3.5-4L3 4z", "plain"],
  processing: ["processing", "M4 2l9 6-9 6z", "busy"],
  running: ["running", "M4 2l9 6-9 6z", "busy"],
  completed: ["completed", "M6.5 13L2 8.5 3.5 7l3 3L12.5 4 14 5.5z", "good"],
  failed: ["failed", "M4 2l4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4-4-4z", "bad"],
  timeout: ["timeout", "M8 1l7 13H1z", "bad"],
  cancelled: ["cancelled", "M2 7h12v2.5H2z", "plain"],
};

/** @param {string} status */
export const lookOf = (status) => LOOKS[status] ?? [status, "M3 3h10v10H3z", "plain"];

/** @param {string} status @param {boolean | null} [ok] Of a task that ended. */
export function statusBadge(status, ok) {
  const [word, shape, tone] = lookOf(status);
  const isHalf = status === "completed" && ok === false;
  return badge([isHalf ? `${word}, not ok` : word, shape, isHalf ? "warn" : tone]);
}

/** A state by word, shape and tone. @param {[word: string, shape: string, tone: string]} look */
export function badge([word, shape, tone]) {
  return html`<span class=${`status ${tone}`}><svg viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">${svg`<path d=${shape}></path>`}</svg>${word}</span>`;
}

/** Shapes of states that several pages show. */
export const SHAPES = { goes: "M4 2l9 6-9 6z", rests: "M3 2h4v12H3zM9 2h4v12H9z", done: "M6.5 13L2 8.5 3.5 7l3 3L12.5 4 14 5.5z", off: "M2 7h12v2.5H2z" };

/** Whether a queue starts tasks. @param {boolean} isPaused @param {string} [word] */
export function pausedBadge(isPaused, word = isPaused ? "paused" : "active") {
  return badge([word, isPaused ? SHAPES.rests : SHAPES.goes, isPaused ? "warn" : "good"]);
}

/** Several states as shapes in a row, the oldest first; by ear, as one list of words. @param {[word: string, shape: string, tone: string][]} looks */
export function badgeRow(looks) {
  const words = looks.map(([word]) => word).join(", ");
  return html`<span class="outcomes" role="img" aria-label=${words} title=${words}>${looks.map(
    ([, shape, tone]) => html`<span class=${`status ${tone}`}><svg viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">${svg`<path d=${shape}></path>`}</svg></span>`,
  )}</span>`;
}

/** A dot for each attempt: filled ones failed, the last one is as the task is. @param {{status: string, retryCount: number, maxRetries: number}} task */
export function attemptDots({ status, retryCount, maxRetries }) {
  const waits = status === "pending" || status === "delayed";
  const failed = waits ? retryCount : retryCount + (status === "failed" || status === "timeout" ? 1 : 0);
  const dots = [];
  for (let n = 0; n < Math.min(failed, 11); n += 1) dots.push("✕");
  if (status === "completed") dots.push("✓");
  if (status === "processing") dots.push("▸");
  const words = `${retryCount} of ${maxRetries} retries`;
  return html`<span class="dots" role="img" aria-label=${words} title=${words}>${dots.join(" ") || "·"}</span>`;
}
