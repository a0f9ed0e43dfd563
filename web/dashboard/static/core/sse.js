// Server-sent events from the text of a stream (WHATWG HTML, 9.2). `EventSource` cannot send an access token, so streams are fetched.

/** @typedef {{id: string, type: string, data: string}} StreamEvent An event; one without data only moves the position. */
/** @typedef {{rest: string, id: string, retry: number}} ReaderState */

/** @type {ReaderState} */
export const atStart = { rest: "", id: "", retry: 2000 };

/**
 * Reads on. A block that is not whole yet stays in `rest`.
 * @param {ReaderState} state
 * @param {string} text
 * @returns {{state: ReaderState, events: StreamEvent[]}}
 */
export function read(state, text) {
  const blocks = (state.rest + text).split("\n\n");
  const rest = blocks.pop() ?? "";
  let { id, retry } = state;
  const events = [];
  for (const block of blocks) {
    let type = "";
    const data = [];
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "id") id = value;
      else if (name === "event") type = value;
      else if (name === "data") data.push(value);
      else if (name === "retry" && /^\d+$/.test(value)) retry = Number(value);
    }
    events.push({ id, type, data: data.join("\n") });
  }
  return { state: { rest, id, retry }, events };
}
