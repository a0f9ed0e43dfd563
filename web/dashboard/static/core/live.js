// The live events of the team that is looked at: one stream of tasks always, and one of activity while a page shows it.
import { effect, signal, untracked } from "../vendor/signals-core/signals-core.js";
import { send, withQuery } from "./api.js";
import { oncePerFrame } from "./frames.js";
import { session } from "./session.js";
import { createSharedStream } from "./shared-stream.js";
import { currentTeam, environment } from "./team.js";

/** @typedef {{events: (events: any[]) => void, resync: () => void}} Listener `resync`: read the list again, events may be missing. */

/** @param {string} kind @param {string} path @param {boolean} always Also while no page listens. */
function createFeed(kind, path, always) {
  /** @type {Set<Listener>} */
  const listeners = new Set();
  /** @type {{value: ReturnType<typeof createSharedStream> | null, peek(): ReturnType<typeof createSharedStream> | null}} */
  const stream = signal(null);
  const wanted = signal(always ? 1 : 0);
  let key = "";
  const frames = oncePerFrame((events) => {
    for (const listener of listeners) listener.events(events);
  });

  /** @param {any[]} events */
  function take(events) {
    if (!paused.peek()) frames.add(events);
  }

  const resync = () => listeners.forEach((listener) => listener.resync());

  effect(() => {
    const id = session().me?.sessionId;
    const team = currentTeam()?.id;
    const next = id && team && wanted.value > 0 ? `${kind}:${id}:${team}:${environment()}` : "";
    if (next === key) return;
    key = next;
    untracked(() => stream.peek()?.close());
    const connect = (position, stop) =>
      untracked(() => send({ method: "GET", path: withQuery(path, { after: position }), signal: stop, headers: { accept: "text/event-stream" } }));
    stream.value = next ? createSharedStream(next, connect, { events: take, gap: resync }) : null;
  });

  return {
    get state() {
      return stream.value?.state ?? null;
    },
    hurry: () => stream.peek()?.hurry(),
    /** @param {Listener} listener @returns {() => void} Ends it. */
    subscribe(listener) {
      listeners.add(listener);
      wanted.value = wanted.peek() + 1;
      return () => {
        listeners.delete(listener);
        wanted.value = wanted.peek() - 1;
      };
    },
    resync,
  };
}

/** Whether this tab ignores events for now. */
export const paused = signal(false);

/** What happens to tasks: `GET /v1/events`. */
export const taskEvents = createFeed("tasks", "/v1/events", true);
/** What people and credentials do: `GET /v1/activity/stream`. */
export const activityEvents = createFeed("activity", "/v1/activity/stream", false);

export function togglePause() {
  paused.value = !paused.peek();
  if (!paused.peek()) {
    taskEvents.resync();
    activityEvents.resync();
  }
}
