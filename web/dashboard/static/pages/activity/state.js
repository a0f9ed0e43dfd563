// The state of the activity: what was read, and what is new since, which waits until it is asked for.

/** @typedef {{entries: any[], fresh: any[], next: string | null}} ActivityState */
/** @typedef {{type: "loaded", page: {activity: any[], next?: string}} | {type: "happened", entries: any[]} | {type: "merged"}} ActivityEvent */

/** Entries that are kept on a page, at most. */
const MOST = 500;

/** @type {ActivityState} */
export const noActivity = { entries: [], fresh: [], next: null };

/** @param {any} entry */
export function keyOf(entry) {
  return `${entry.stream}-${entry.seq}`;
}

/** @param {ActivityState} state @param {ActivityEvent} event @returns {ActivityState} */
export function reduce(state, event) {
  switch (event.type) {
    case "loaded":
      return { entries: event.page.activity, fresh: [], next: event.page.next ?? null };
    case "happened": {
      const known = new Set([...state.entries, ...state.fresh].map(keyOf));
      const fresh = event.entries.filter((entry) => !known.has(keyOf(entry)));
      return fresh.length === 0 ? state : { ...state, fresh: [...fresh.toReversed(), ...state.fresh].slice(0, MOST) };
    }
    case "merged":
      return { ...state, entries: [...state.fresh, ...state.entries].slice(0, MOST), fresh: [] };
    default:
      return state;
  }
}

/**
 * Whether an entry of the stream belongs to the list that is shown; as the API filters.
 * @param {any} entry
 * @param {Record<string, string>} filters
 */
export function matches(entry, filters) {
  const at = Date.parse(entry.at);
  return (
    (!filters.stream || entry.stream === filters.stream) &&
    (!filters.actor || entry.actor === filters.actor || entry.actor.endsWith(`:${filters.actor}`)) &&
    (!filters.type || entry.type.startsWith(filters.type)) &&
    (!filters.target || entry.target?.id === filters.target) &&
    (!filters.taskId || entry.taskId === filters.taskId) &&
    (!filters.source || entry.source === filters.source) &&
    (!filters.outcome || entry.outcome === filters.outcome) &&
    (!filters.after || at >= Date.parse(filters.after)) &&
    (!filters.before || at < Date.parse(filters.before))
  );
}
