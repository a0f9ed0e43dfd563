// The graph of a workflow: each task stands to the right of all that it runs after.
import { html, svg } from "../../ui/lit.js";
import { lookOf } from "../../ui/status.js";

/** More tasks make no picture that people can read. */
export const MOST = 60;
const WIDTH = 170;
const HEIGHT = 44;
const [GAP_X, GAP_Y] = [50, 14];

/** @typedef {{name: string, runAfter: string[], status: string}} Member */

/** In which column and row each task stands. @param {Member[]} tasks Those that others run after first. @returns {Map<string, {column: number, row: number}>} */
export function placed(tasks) {
  const places = new Map();
  const used = [];
  for (const { name, runAfter } of tasks) {
    const column = Math.max(0, ...runAfter.map((before) => (places.get(before)?.column ?? -1) + 1));
    used[column] = (used[column] ?? -1) + 1;
    places.set(name, { column, row: used[column] });
  }
  return places;
}

/** @param {string} name */
const short = (name) => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

/** The same stands as a table below it, so it is hidden from who reads by ear. @param {(Member & {taskId: string})[]} tasks @param {(id: string) => void} open */
export function graph(tasks, open) {
  const places = placed(tasks);
  const all = [...places.values()];
  const [columns, rows] = [Math.max(...all.map(({ column }) => column)) + 1, Math.max(...all.map(({ row }) => row)) + 1];
  const at = (name) => {
    const { column, row } = places.get(name) ?? { column: 0, row: 0 };
    return { x: column * (WIDTH + GAP_X) + 1, y: row * (HEIGHT + GAP_Y) + 1 };
  };
  const [width, height] = [columns * (WIDTH + GAP_X) - GAP_X + 2, rows * (HEIGHT + GAP_Y) - GAP_Y + 2];
  const edges = tasks.flatMap(({ name, runAfter }) => runAfter.map((before) => [at(before), at(name)]));
  const middle = HEIGHT / 2;
  return html`<div class="scroll graph" aria-hidden="true">
    <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}>
      ${edges.map(([from, to]) => svg`<path d=${`M${from.x + WIDTH} ${from.y + middle}C${from.x + WIDTH + GAP_X / 2} ${from.y + middle} ${to.x - GAP_X / 2} ${to.y + middle} ${to.x} ${to.y + middle}`}></path>`)}
      ${tasks.map(({ name, status, taskId }) => {
        const { x, y } = at(name);
        const [word, shape, tone] = lookOf(status);
        return svg`<g class=${tone} transform=${`translate(${x} ${y})`} @click=${() => open(taskId)}>
          <rect width=${WIDTH} height=${HEIGHT} rx="8"></rect>
          <text x="10" y="18">${short(name)}</text>
          <path class="shape" transform="translate(10 24) scale(0.75)" d=${shape}></path>
          <text class="state" x="28" y="35">${word}</text>
          <title>${name}: ${word}</title>
        </g>`;
      })}
    </svg>
  </div>`;
}
