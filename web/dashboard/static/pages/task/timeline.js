// The life of a task to scale: waiting, attempts, pauses, delivery of the webhook.

/** Width of the drawing, in its own units. */
export const WIDTH = 1000;
/** The least that can be seen. */
const LEAST = 3;

/** @typedef {{kind: "wait" | "delay" | "attempt" | "pause" | "webhook", tone: "good" | "bad" | "busy" | "plain", from: number, to: number, label: string}} Span Milliseconds since 1970. */

/**
 * What happened from when to when.
 * @param {any} task
 * @param {number} now
 * @returns {Span[]}
 */
export function spans(task, now) {
  /** @type {Span[]} */
  const all = [];
  const created = Date.parse(task.createdAt);
  const end = task.completedAt ? Date.parse(task.completedAt) : Math.max(now, created);
  let at = created;
  const due = task.delayUntil ? Math.min(Date.parse(task.delayUntil), end) : 0;
  if (due > at) {
    all.push({ kind: "delay", tone: "plain", from: at, to: due, label: "delayed as asked" });
    at = due;
  }
  for (const attempt of task.attempts ?? []) {
    const from = Math.max(at, Date.parse(attempt.startedAt));
    if (from > at) all.push({ kind: all.some((span) => span.kind === "attempt") ? "pause" : "wait", tone: "plain", from: at, to: from, label: all.some((span) => span.kind === "attempt") ? "pause" : "waited in the queue" });
    const isLast = attempt === task.attempts.at(-1);
    const runs = isLast && task.status === "processing";
    const to = runs ? end : from + (attempt.duration ?? 0);
    const failed = attempt.error !== null || (isLast && task.ok === false);
    const tone = runs ? "busy" : failed ? "bad" : "good";
    const outcome = runs ? "running" : attempt.error ?? (attempt.statusCode ? `status ${attempt.statusCode}` : "lost with its worker");
    all.push({ kind: "attempt", tone, from, to, label: `attempt ${attempt.number}: ${outcome}` });
    at = to;
  }
  if (end > at) all.push({ kind: all.length > 0 && task.attempts?.length ? "pause" : "wait", tone: "plain", from: at, to: end, label: task.completedAt ? "until its end" : "waits" });
  return all;
}

/**
 * Where each span is drawn. Attempts are never narrower than can be seen, whatever the scale.
 * @param {Span[]} all
 * @returns {{span: Span, x: number, width: number}[]}
 */
export function placed(all) {
  const first = all[0]?.from ?? 0;
  const last = Math.max(first + 1, ...all.map((span) => span.to));
  const scale = (WIDTH - LEAST) / (last - first);
  return all.map((span) => ({ span, x: (span.from - first) * scale, width: Math.max((span.to - span.from) * scale, span.kind === "attempt" ? LEAST : 0) }));
}
