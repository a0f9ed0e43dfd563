// The state of the list of tasks: `state' = reduce(state, event)`, and nothing else.

/**
 * @typedef {object} Row A task as the list has it, and what events told since.
 * @property {string} id
 * @property {string} status
 * @property {string} updatedAt
 * @property {string | null} [retryAt] When the next attempt is due, where an event said so.
 * @property {boolean} [changed] Changed by an event since it was read.
 */
/** @typedef {{total: number, totalExact: boolean, hasMore: boolean, nextCursor: string | null}} Pagination */
/** @typedef {{rows: Row[], latest: Row[] | null, fresh: number, pagination: Pagination | null, searched?: any}} ListState */
/**
 * @typedef {{type: "loaded", page: {tasks: Row[], pagination: Pagination}}
 *   | {type: "checked", page: {tasks: Row[], pagination: Pagination}}
 *   | {type: "merged"}
 *   | {type: "happened", events: any[]}} ListEvent
 */

/** @type {ListState} */
export const noList = { rows: [], latest: null, fresh: 0, pagination: null };

/** @param {ListState} state @param {ListEvent} event @returns {ListState} */
export function reduce(state, event) {
  switch (event.type) {
    case "loaded":
      return { rows: event.page.tasks, latest: null, fresh: 0, pagination: event.page.pagination, searched: event.page.searched };
    case "checked":
      return checked(state, event.page);
    case "merged":
      return state.latest ? { ...state, rows: state.latest, latest: null, fresh: 0 } : state;
    case "happened":
      return happened(state, event.events);
    default:
      return state;
  }
}

/**
 * A page that was read anew changes rows where they stand. What is new waits until it is asked for: a list never moves under the pointer.
 * @param {ListState} state
 * @param {{tasks: Row[], pagination: Pagination}} page
 */
function checked(state, page) {
  const read = new Map(page.tasks.map((task) => [task.id, task]));
  const rows = state.rows.map((row) => newer(row, read.get(row.id)));
  const shown = new Set(rows.map((row) => row.id));
  const fresh = page.tasks.filter((task) => !shown.has(task.id)).length;
  const same = page.tasks.length === rows.length && fresh === 0;
  return { rows, latest: same ? null : page.tasks, fresh, pagination: page.pagination, searched: page.searched };
}

/** Of two versions of a task, the one that something happened to last. @param {Row} row @param {Row | undefined} read */
function newer(row, read) {
  if (!read || read.updatedAt < row.updatedAt) return row;
  return read.updatedAt === row.updatedAt ? { ...read, retryAt: row.retryAt, changed: row.changed } : { ...read, changed: true };
}

/** @param {ListState} state @param {any[]} events */
function happened(state, events) {
  const byTask = new Map();
  for (const event of events) byTask.set(event.taskId, [...(byTask.get(event.taskId) ?? []), event]);
  let any = false;
  const apply = (row) => {
    const own = byTask.get(row.id);
    if (!own) return row;
    any = true;
    return own.reduce(after, row);
  };
  const rows = state.rows.map(apply);
  return any ? { ...state, rows, latest: state.latest?.map(apply) ?? null } : state;
}

/** A row after an event of its task. @param {any} row @param {any} event */
export function after(row, event) {
  if (event.at < row.updatedAt && event.type !== "task.created") return row;
  const next = { ...row, changed: true, updatedAt: event.at };
  if (event.status) next.status = event.status;
  if (event.error) next.error = event.error;
  switch (event.type) {
    case "task.started":
      return { ...next, startedAt: row.startedAt ?? event.at, retryAt: null };
    case "task.attempt_failed":
      return { ...next, retryCount: Math.max(row.retryCount, event.attempt ?? 0), retryAt: event.retryAt ?? null };
    case "task.cancel_requested":
      return { ...next, cancelRequested: true };
    case "task.callback_sent":
      return { ...next, updatedAt: row.updatedAt, webhook: { ...row.webhook, status: "delivered" } };
    case "task.callback_failed":
      return { ...next, updatedAt: row.updatedAt, webhook: { ...row.webhook, status: event.retryAt ? "pending" : "given_up" } };
    default:
      return event.ok === undefined ? next : { ...next, ok: event.ok, completedAt: event.at, retryAt: null };
  }
}
