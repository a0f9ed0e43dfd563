// What failed lately, grouped by its cause: host of the target and first line of the error.

/** @typedef {{host: string, error: string, count: number, last: string, target: string}} Cause */

/** @param {string} url */
function hostOf(url) {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}

/** The beginning of a target by which the list is filtered. @param {string} url */
function originOf(url) {
  try {
    return `${new URL(url).origin}/*`;
  } catch {
    return url;
  }
}

/** @param {any[]} tasks @returns {Cause[]} Most frequent first. */
export function causes(tasks) {
  /** @type {Map<string, Cause>} */
  const all = new Map();
  for (const task of tasks) {
    const host = task.targetUrl ? hostOf(task.targetUrl) : `workers of ${task.queue}`;
    const error = (task.error ?? task.endReason ?? "unknown").split("\n")[0];
    const key = `${host}\n${error}`;
    const known = all.get(key) ?? { host, error, count: 0, last: "", target: task.targetUrl ? originOf(task.targetUrl) : "" };
    const at = task.completedAt ?? "";
    all.set(key, { ...known, count: known.count + 1, last: at > known.last ? at : known.last });
  }
  return [...all.values()].sort((one, other) => other.count - one.count);
}
