// The tail of raw events: what is shown, what is counted while it is paused, and where it may be read on.

/** Rows that are kept; older ones are in the log. */
export const MOST = 300;

/** @typedef {{key: string, gap: {after: number, firstAvailable: number} | null, event: any}} Row An event, or the place where some are missing. */
/** @typedef {{rows: Row[], seen: number, held: Row[], heldCount: number, paused: boolean, position: string, state: {phase: string, reason: string}}} Tail Newest first. */
/**
 * @typedef {{type: "began"} | {type: "came", rows: Row[], position: string} | {type: "paused"} | {type: "resumed"} | {type: "became", phase: string, reason?: string}} TailEvent
 */

/** @type {Tail} */
export const noTail = { rows: [], seen: 0, held: [], heldCount: 0, paused: false, position: "", state: { phase: "connecting", reason: "" } };

/** @param {Tail} tail @param {TailEvent} event @returns {Tail} */
export function reduce(tail, event) {
  switch (event.type) {
    case "began":
      return { ...noTail, paused: tail.paused };
    case "became":
      return { ...tail, state: { phase: event.phase, reason: event.reason ?? "" } };
    case "came": {
      const newest = event.rows.toReversed();
      const seen = tail.seen + event.rows.length;
      const state = { phase: "live", reason: "" };
      if (tail.paused) return { ...tail, seen, state, position: event.position, held: [...newest, ...tail.held].slice(0, MOST), heldCount: tail.heldCount + event.rows.length };
      return { ...tail, seen, state, position: event.position, rows: [...newest, ...tail.rows].slice(0, MOST) };
    }
    case "paused":
      return { ...tail, paused: true };
    case "resumed":
      return { ...tail, paused: false, rows: [...tail.held, ...tail.rows].slice(0, MOST), held: [], heldCount: 0 };
    default:
      return tail;
  }
}

/** Events of a stream as rows; a `gap` is one, too. @param {import("../../core/sse.js").StreamEvent[]} events @returns {Row[]} */
export function rowsOf(events) {
  return events
    .filter(({ data, type }) => data && type !== "end")
    .map(({ id, type, data }) => {
      const told = JSON.parse(data);
      return type === "gap" ? { key: `gap ${told.after}`, gap: told, event: null } : { key: id, gap: null, event: { ...told, position: id } };
    });
}

/** What happened, in a few words beside the type. @param {any} event */
export function detail({ attempt, statusCode, error, retryAt, ok, duplicateOf, supersededBy, skippedFor }) {
  const all = [];
  if (attempt) all.push(`attempt ${attempt}`);
  if (statusCode) all.push(`status ${statusCode}`);
  if (ok !== undefined && ok !== null) all.push(ok ? "ok" : "not ok");
  if (error) all.push(error.split("\n")[0]);
  if (retryAt) all.push(`next at ${retryAt}`);
  for (const [words, id] of [["duplicate of", duplicateOf], ["superseded by", supersededBy], ["skipped for", skippedFor]]) if (id) all.push(`${words} …${id.slice(-10)}`);
  return all.join(", ");
}
