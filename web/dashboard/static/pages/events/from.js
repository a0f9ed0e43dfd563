// Where the tail begins: now, at a position, or at a time. The log knows positions; the tasks know times.
import { atStart, Failure, get, read, send, withQuery } from "../../kit.js";

/** What people typed. @param {string} text @returns {{kind: "now"} | {kind: "position", position: string} | {kind: "time", at: number} | {kind: "wrong"}} */
export function startOf(text) {
  const given = text.trim();
  if (given === "" || given === "now") return { kind: "now" };
  if (/^\d+$/.test(given)) return { kind: "position", position: given };
  const at = Date.parse(given);
  return Number.isFinite(at) ? { kind: "time", at } : { kind: "wrong" };
}

/** Position of the first event of a task. @param {string} id @param {AbortSignal} signal */
async function createdAs(id, signal) {
  const response = await send({ method: "GET", path: `/v1/tasks/${id}/events`, signal, headers: { accept: "text/event-stream" } });
  const reader = /** @type {ReadableStream} */ (response.body).pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let state = atStart; ; ) {
      const { done, value } = await reader.read();
      if (done) return "0";
      const parsed = read(state, value);
      const first = parsed.events.find(({ data }) => data);
      if (first) return first.id;
      state = parsed.state;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/**
 * The position after which everything comes that happened since: that of the last task that was accepted before. Events between that and the
 * time are left out by the page. @param {string} text @param {AbortSignal} signal @returns {Promise<{position: string, since: number}>}
 */
export async function positionOf(text, signal) {
  const start = startOf(text);
  if (start.kind === "now") return { position: "", since: 0 };
  if (start.kind === "position") return { position: start.position, since: 0 };
  if (start.kind === "wrong") throw new Failure({ status: 400, code: "not_a_start", field: "from", message: "A position such as 48120, 0 for the oldest, or a time such as 2026-12-01 09:00" });
  const before = withQuery("/v1/tasks", { kind: "all", createdBefore: new Date(start.at).toISOString(), limit: 1, fields: "createdAt" });
  const { tasks } = await get(before, { signal });
  return { position: tasks.length > 0 ? await createdAs(tasks[0].id, signal) : "0", since: start.at };
}
