// What a page reads of the API: at once, again when its address changes, and again at a measured pace when events say that it may have changed.
import { effect } from "../vendor/signals-core/signals-core.js";
import { get } from "./api.js";
import { createLoader } from "./loader.js";
import { taskEvents } from "./live.js";
import { here, restore } from "./location.js";
import { pace } from "./pace.js";

/** Longest wait: a timer of more than 24 days would end at once. */
const LONGEST = 86_400_000;

/**
 * @param {object} what
 * @param {string} what.page The page that it belongs to; another page's address is none of its business.
 * @param {() => string} what.path The request. Another one is another list.
 * @param {(signal: AbortSignal, path: string) => Promise<any>} [what.read] By default the answer to that request.
 * @param {(data: any, isNew: boolean) => void} [what.loaded] `isNew`: the first answer, one to another request, or one that was asked for.
 * @param {{subscribe: (listener: import("./live.js").Listener) => () => void}[]} [what.feeds]
 * @param {(event: any) => boolean} [what.concerns] Which events are a reason to read again.
 * @param {number} [what.rarer] How many times rarer than a list it is read by itself.
 */
export function createReading({ page, path, read = (signal, asked) => get(asked, { signal }), loaded, feeds = [taskEvents], concerns = () => true, rarer = 1 }) {
  let address = "";
  let isNew = true;
  let timer = 0;
  let last = 0;
  let due = 0;
  const loader = createLoader((signal) => read(signal, path()), {
    loaded(data) {
      loaded?.(data, isNew);
      isNew = false;
      requestAnimationFrame(restore);
    },
  });
  function load() {
    clearTimeout(timer);
    timer = 0;
    last = Date.now();
    return loader.load();
  }
  /** @param {number} [at] Milliseconds since 1970; by default as soon as the pace allows. */
  function soon(at = last + rarer * pace()) {
    if (timer && due <= at) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(load, Math.min(LONGEST, Math.max(0, at - Date.now())));
  }
  const resync = () => soon();
  const ends = feeds.map((feed) => feed.subscribe({ events: (events) => events.some(concerns) && soon(), resync }));
  const stop = effect(() => {
    const next = path();
    if (here().path !== page || next === address) return;
    address = next;
    isNew = true;
    void load();
  });
  return {
    loader,
    soon,
    /** Reads it now and shows all of it: somebody asked for that. */
    reload() {
      isNew = true;
      return load();
    },
    dispose() {
      stop();
      for (const end of ends) end();
      clearTimeout(timer);
      loader.dispose();
    },
  };
}
