// The state of the page of one task: the task as it was read, and its events in their order.

/** @typedef {{task: any | null, events: any[]}} TaskState */
/** @typedef {{type: "read", task: any} | {type: "happened", events: any[]}} TaskChange */

/** @type {TaskState} */
export const noTask = { task: null, events: [] };

/** @param {TaskState} state @param {TaskChange} change @returns {TaskState} */
export function reduce(state, change) {
  switch (change.type) {
    case "read":
      return { ...state, task: change.task };
    case "happened":
      return { ...state, events: merged(state.events, change.events) };
    default:
      return state;
  }
}

/** Each event once, by position: the history and the live stream overlap. @param {any[]} known @param {any[]} more */
function merged(known, more) {
  const seen = new Set(known.map((event) => event.id));
  const fresh = more.filter((event) => !seen.has(event.id));
  if (fresh.length === 0) return known;
  return [...known, ...fresh].sort((one, other) => one.id - other.id);
}

/** When the next attempt is due, where the last event says so. @param {any[]} events */
export function nextTry(events) {
  const last = events.findLast((event) => !event.type.startsWith("task.callback"));
  return last?.type === "task.attempt_failed" ? last.retryAt ?? null : null;
}
