// A stream of one page, read from a position on and again after each interruption. What all tabs share is `shared-stream.js`.
import { pauseAfter, readConnection } from "./connection.js";
import { Failure } from "./failure.js";
import { oncePerFrame } from "./frames.js";

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
  const frames = oncePerFrame((events) => came(events, position));

  const take = (events, at) => {
    position = at;
    frames.add(events);
    return events.some(({ type }) => type === "end");
  };

  async function run() {
    for (let failures = 0; !end.signal.aborted; ) {
      const before = position;
      let failure = null;
      try {
        if (await readConnection(position, connect, end.signal, take)) {
          if (end.signal.aborted) return;
          frames.flush();
          ended();
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
      const wait = pauseAfter(failure, failures);
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
      frames.drop();
    },
  };
}
