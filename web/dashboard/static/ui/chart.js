// A chart of a few series over time, as lines. The same figures stand beside it as text, so it is hidden from who reads by ear.
import { html, svg } from "./lit.js";
import { number } from "./words.js";

const WIDTH = 600;
const HEIGHT = 160;

/** The points of a line: of the values, the last one is at the right edge. @param {number[]} values @param {number} room Values that fit. @param {number} most */
export function points(values, room, most) {
  const step = WIDTH / Math.max(1, room - 1);
  const first = room - values.length;
  return values.map((value, n) => `${((first + n) * step).toFixed(1)},${(HEIGHT - (value / most) * HEIGHT).toFixed(1)}`).join(" ");
}

/** A line without axes, in a cell. @param {number[]} values Oldest first. @param {string} label What it says in words. */
export function sparkline(values, label) {
  const most = Math.max(1, ...values);
  return html`<svg class="spark" role="img" aria-label=${label} viewBox=${`0 -8 ${WIDTH} ${HEIGHT + 16}`} preserveAspectRatio="none"><title>${label}</title>${svg`<polyline points=${points(values, values.length, most)}></polyline>`}</svg>`;
}

/** @param {[string, number[]][]} series Tone and values, oldest first. @param {{room: number, from: string, unit: string}} what */
export function chart(series, { room, from, unit }) {
  const most = Math.max(1, ...series.flatMap(([, values]) => values));
  return html`<div class="chart" aria-hidden="true">
    <p class="fine">${number(most)} ${unit}</p>
    <svg viewBox=${`0 -2 ${WIDTH} ${HEIGHT + 4}`} preserveAspectRatio="none">
      ${[0, 0.5, 1].map((part) => svg`<line x1="0" x2=${WIDTH} y1=${part * HEIGHT} y2=${part * HEIGHT}></line>`)}
      ${series.map(([tone, values]) => svg`<polyline class=${tone} points=${points(values, room, most)}></polyline>`)}
    </svg>
    <p class="fine"><span>${from}</span> <span>now</span></p>
  </div>`;
}
