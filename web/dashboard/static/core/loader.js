// Reading something that may fail: what was read last stays, with its age, and a refusal that says when to come back is tried again then.
import { batch, signal } from "../vendor/signals-core/signals-core.js";
import { Failure } from "./failure.js";

/** @typedef {{loading: boolean, data: any, at: number, failure: Failure | null}} Loaded */

/**
 * @param {(signal: AbortSignal) => Promise<any>} read
 * @param {{loaded?: (data: any) => void}} [tell]
 */
export function createLoader(read, { loaded } = {}) {
  /** @type {Loaded} */
  const nothing = { loading: false, data: null, at: 0, failure: null };
  const current = signal(nothing);
  /** @type {AbortController | null} */
  let underWay = null;
  let timer = 0;

  async function load() {
    underWay?.abort();
    clearTimeout(timer);
    const own = new AbortController();
    underWay = own;
    current.value = { ...current.peek(), loading: true };
    try {
      const data = await read(own.signal);
      if (own.signal.aborted) return;
      batch(() => {
        loaded?.(data);
        current.value = { loading: false, data, at: Date.now(), failure: null };
      });
    } catch (error) {
      if (own.signal.aborted) return;
      const failure = error instanceof Failure ? error : new Failure({ status: 0, code: "page_failed", message: String(error) });
      current.value = { ...current.peek(), loading: false, failure };
      // A refusal for want of rights does not change by waiting.
      if (failure.retryAt && failure.status !== 401) timer = setTimeout(load, Math.max(500, failure.retryAt - Date.now()));
    }
  }

  return {
    /** Reading it in a view makes the view follow it. @returns {Loaded} */
    get state() {
      return current.value;
    },
    peek: () => current.peek(),
    load,
    dispose() {
      underWay?.abort();
      clearTimeout(timer);
    },
  };
}
