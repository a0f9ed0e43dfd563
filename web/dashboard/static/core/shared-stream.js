// One stream for all tabs of a browser: the tab that holds the lock reads it and tells the others. Browsers open six connections to an
// origin over HTTP/1.1, so a stream for each tab would soon leave none for requests.
import { signal } from "../vendor/signals-core/signals-core.js";
import { pauseAfter, readConnection } from "./connection.js";
import { Failure } from "./failure.js";
import { withLock } from "./locks.js";

/**
 * @typedef {object} StreamState
 * @property {"connecting" | "live" | "waiting"} phase
 * @property {string} position Id of the last event, or of a heartbeat.
 * @property {number | null} lag Milliseconds between the last event and its arrival.
 * @property {string} reason Why it waits.
 * @property {number} retryAt When it connects again.
 */

/** @type {StreamState} */
const unconnected = { phase: "connecting", position: "", lag: null, reason: "", retryAt: 0 };

/**
 * @param {string} name The same in every tab that may share it.
 * @param {(position: string, signal: AbortSignal) => Promise<Response>} connect
 * @param {{events: (events: any[]) => void, gap: () => void}} listener `gap`: what was missed has to be read again.
 */
export function createSharedStream(name, connect, listener) {
  const state = signal(unconnected);
  const end = new AbortController();
  const channel = "BroadcastChannel" in window ? new BroadcastChannel(`waybill-stream:${name}`) : null;
  let leads = false;
  /** Ends the pause before the next attempt. */
  let hurry = () => {};

  /** @param {Partial<StreamState>} change */
  function become(change) {
    state.value = { ...state.peek(), ...change };
    if (leads) channel?.postMessage({ state: state.peek() });
  }

  /** @param {any[]} events @param {string} position */
  function deliver(events, position) {
    const last = events.at(-1);
    become({ phase: "live", position, lag: last?.at ? Math.max(0, Date.now() - Date.parse(last.at)) : state.peek().lag });
    if (events.length === 0) return;
    listener.events(events);
    channel?.postMessage({ events, state: state.peek() });
  }

  channel?.addEventListener("message", ({ data }) => {
    if (data === "hello") {
      if (leads) channel.postMessage({ state: state.peek() });
      return;
    }
    if (leads) return;
    if (data.state) state.value = data.state;
    if (data.events) listener.events(data.events);
    if (data.gap) listener.gap();
  });

  function missed() {
    listener.gap();
    channel?.postMessage({ gap: true });
  }

  /** Reads one connection to its end. */
  function follow() {
    let before = state.peek().position;
    return readConnection(before, connect, end.signal, (came, position) => {
      // A stream that begins now begins after what pages have read a moment ago.
      if (before === "" && position !== "") missed();
      before = position;
      const events = came.filter((event) => event.data);
      if (events.some((event) => event.type === "gap")) missed();
      deliver(events.filter((event) => event.type !== "gap").map((event) => ({ ...JSON.parse(event.data), position: event.id })), position);
    });
  }

  /** @param {number} ms */
  function pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      hurry = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
      end.signal.addEventListener("abort", hurry, { once: true });
    });
  }

  async function lead() {
    leads = true;
    let failures = 0;
    while (!end.signal.aborted) {
      become({ phase: "connecting", reason: "" });
      let failure = null;
      const before = state.peek().position;
      try {
        await follow();
      } catch (error) {
        failure = error instanceof Failure ? error : null;
      }
      if (end.signal.aborted) return;
      failures = state.peek().position === before ? failures + 1 : 0;
      const wait = pauseAfter(failure, failures);
      become({ phase: "waiting", reason: failure?.message ?? "The stream ended", retryAt: Date.now() + wait });
      await pause(wait);
    }
  }

  const online = () => hurry();
  window.addEventListener("online", online);
  channel?.postMessage("hello");
  withLock(`waybill-stream:${name}`, lead, end.signal).catch(() => {});

  return {
    get state() {
      return state.value;
    },
    /** Connects now instead of waiting. */
    hurry: () => hurry(),
    close() {
      end.abort();
      window.removeEventListener("online", online);
      channel?.close();
    },
  };
}
