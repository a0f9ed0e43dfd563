// The events of a task up to now. Its stream has no end while the task is open, so it is left as soon as it has caught up: what comes
// later arrives over the one stream that all tabs share.
import { send } from "../../core/api.js";
import { atStart, read } from "../../core/sse.js";

/** A stream that says nothing for so long has sent all there was, in milliseconds. */
const QUIET = 700;

/** @param {string} id @param {(events: any[]) => void} take @param {AbortSignal} signal */
export async function readHistory(id, take, signal) {
  const own = new AbortController();
  signal.addEventListener("abort", () => own.abort());
  const response = await send({ method: "GET", path: `/v1/tasks/${id}/events`, signal: own.signal, headers: { accept: "text/event-stream" } });
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let state = atStart;
  for (;;) {
    const quiet = new Promise((resolve) => setTimeout(() => resolve({ done: true, value: "" }), QUIET));
    const { done, value } = /** @type {{done: boolean, value: string}} */ (await Promise.race([reader.read(), quiet]));
    if (done) break;
    const parsed = read(state, value);
    state = parsed.state;
    take(parsed.events.filter((event) => event.type.startsWith("task.")).map((event) => JSON.parse(event.data)));
  }
  own.abort();
}
