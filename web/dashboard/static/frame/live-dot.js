// The position in the log, so that "nothing was missed" can be seen.
import { html } from "../ui/lit.js";
import { now } from "../core/clock.js";
import { paused, taskEvents, togglePause } from "../core/live.js";
import { length, number } from "../ui/words.js";

/** @param {string} position Of the stream of tasks, which is a number. */
function eventNumber(position) {
  return position ? `event ${number(Number(position))}` : "the start";
}

/** @param {import("../core/shared-stream.js").StreamState | null} state @param {boolean} isPaused @param {number} at */
export function describe(state, isPaused, at) {
  if (isPaused) return { tone: "paused", text: "Paused", more: "Events are not shown; the list is read again when you go on" };
  if (!state) return { tone: "paused", text: "Not live", more: "There is no team to follow" };
  const where = eventNumber(state.position);
  if (state.phase === "live") {
    const lag = state.lag === null ? "" : `, +${length(state.lag)}`;
    return { tone: "live", text: `Live${lag}`, more: `Everything up to ${where} is here` };
  }
  if (state.phase === "connecting") {
    return { tone: "resuming", text: state.position ? `Resuming from ${where}` : "Connecting", more: "Nothing is missed: the stream goes on where it ended" };
  }
  const left = Math.max(0, state.retryAt - at);
  return { tone: "down", text: `Not live, next try in ${length(Math.ceil(left / 1000) * 1000)}`, more: state.reason };
}

export function liveDot() {
  const state = taskEvents.state;
  const { tone, text, more } = describe(state, paused.value, state?.phase === "waiting" ? now() : 0);
  return html`<span class=${`live ${tone}`} data-position=${state?.position ?? ""} data-phase=${state?.phase ?? "off"}>
    <svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true"><circle cx="5" cy="5" r="4"></circle></svg>
    <span title=${more}>${text}</span>
    <button type="button" class="quiet small" @click=${togglePause}>${paused.value ? "Go on" : "Pause"}</button>
    ${state?.phase === "waiting" ? html`<button type="button" class="quiet small" @click=${taskEvents.hurry}>Connect now</button>` : ""}
  </span>`;
}
