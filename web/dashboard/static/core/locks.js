// Locks that the tabs of one browser share.

/**
 * Runs `work` while no other tab runs work under the same name. Browsers give locks to secure pages only (https, or this machine); elsewhere
 * every tab works for itself, which costs requests but loses nothing.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @param {AbortSignal} [signal] Gives up waiting.
 * @returns {Promise<T>}
 */
export function withLock(name, work, signal) {
  if (!navigator.locks) return work();
  return /** @type {Promise<any>} */ (navigator.locks.request(name, signal ? { signal } : {}, work));
}
