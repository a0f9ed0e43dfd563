// One connection to a stream of events, read to its end. Whoever reads decides whether and when to connect again.
import { atStart, read } from "./sse.js";

/** A stream that is silent for so long is dead: its heartbeats come every 15 seconds. */
const SILENCE = 40_000;
/** Longest pause between two attempts to connect, in milliseconds. */
const LONGEST_PAUSE = 10_000;

/**
 * @param {string} from Position to begin after; empty: now.
 * @param {(position: string, signal: AbortSignal) => Promise<Response>} connect
 * @param {AbortSignal} end
 * @param {(events: import("./sse.js").StreamEvent[], position: string) => boolean | void} came Also when only the position has moved. `true`: that was the last.
 * @returns {Promise<boolean>} Whether the stream is over for good.
 */
export async function readConnection(from, connect, end, came) {
  const own = new AbortController();
  const stop = () => own.abort();
  end.addEventListener("abort", stop);
  let watchdog = setTimeout(stop, SILENCE);
  try {
    const response = await connect(from, own.signal);
    if (response.status === 204 || !response.body) return true;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let state = { ...atStart, id: from };
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      clearTimeout(watchdog);
      watchdog = setTimeout(stop, SILENCE);
      const parsed = read(state, value);
      state = parsed.state;
      if (came(parsed.events, state.id)) return true;
    }
  } finally {
    clearTimeout(watchdog);
    end.removeEventListener("abort", stop);
    own.abort();
  }
}

/** Milliseconds until the next attempt. @param {import("./failure.js").Failure | null} failure @param {number} failures In a row, without any progress. */
export function pauseAfter(failure, failures) {
  const asked = failure?.retryAt ? failure.retryAt - Date.now() : 0;
  return Math.max(asked, Math.min(LONGEST_PAUSE, 250 * 2 ** failures));
}
