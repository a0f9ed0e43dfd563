// A stream of one page, read from a position on and again after each interruption. What all tabs share is `shared-stream.js`.
import { Failure } from "./failure.js";
import { atStart, read } from "./sse.js";

/** A stream that is silent for so long is dead: its heartbeats come every 15 seconds. */
const SILENCE = 40_000;
const LONGEST_PAUSE = 10_000;

/**
 * @param {string} from Position to begin after; empty: now.
 * @param {(position: string, signal: AbortSignal) => Promise<Response>} connect
 * @param {object} tell
 * @param {(events: import("./sse.js").StreamEvent[], position: string) => void} tell.came At most once a frame.
 * @param {(failure: Failure | null, again: boolean) => void} tell.broke `again`: it connects again by itself.
 * @param {() => void} tell.ended There is nothing more to come.
 */
export function createTail(from, connect, { came, broke, ended }) {
  const end = new AbortController();
  let position = from;
  /** @type {import("./sse.js").StreamEvent[]} */
  let waiting = [];
  let timer = 0;

  function flush() {
    timer = 0;
    const events = waiting;
    waiting = [];
    if (!end.signal.aborted) came(events, position);
  }

  /** Reads one connection to its end; answers whether the stream is over for good. */
  async function follow() {
    const own = new AbortController();
    const stop = () => own.abort();
    end.signal.addEventListener("abort", stop);
    let watchdog = setTimeout(stop, SILENCE);
    try {
      const response = await connect(position, own.signal);
      if (response.status === 204 || !response.body) return true;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let state = { ...atStart, id: position };
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return false;
        clearTimeout(watchdog);
        watchdog = setTimeout(stop, SILENCE);
        const parsed = read(state, value);
        state = parsed.state;
        position = state.id;
        waiting.push(...parsed.events);
        if (!timer) timer = document.hidden ? setTimeout(flush, 250) : requestAnimationFrame(flush);
        if (parsed.events.some(({ type }) => type === "end")) return true;
      }
    } finally {
      clearTimeout(watchdog);
      end.signal.removeEventListener("abort", stop);
      own.abort();
    }
  }

  async function run() {
    for (let failures = 0; !end.signal.aborted; ) {
      const before = position;
      let failure = null;
      try {
        if (await follow()) {
          clearTimeout(timer);
          cancelAnimationFrame(timer);
          flush();
          if (!end.signal.aborted) ended();
          return;
        }
      } catch (error) {
        failure = error instanceof Failure ? error : null;
      }
      if (end.signal.aborted) return;
      // What is wrong with the request does not become right by repeating it.
      const again = failure?.retryAt !== undefined || failure === null;
      broke(failure, again);
      if (!again) return;
      failures = position === before ? failures + 1 : 0;
      const wait = Math.max(failure?.retryAt ? failure.retryAt - Date.now() : 0, Math.min(LONGEST_PAUSE, 250 * 2 ** failures));
      await new Promise((resolve) => {
        setTimeout(resolve, wait);
        end.signal.addEventListener("abort", () => resolve(undefined), { once: true });
      });
    }
  }

  void run();
  return {
    close() {
      end.abort();
      clearTimeout(timer);
      cancelAnimationFrame(timer);
    },
  };
}
