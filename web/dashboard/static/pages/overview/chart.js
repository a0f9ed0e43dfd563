// The rates as a chart. uPlot draws on a canvas; the same figures stand beside it as text.
import { SECONDS } from "./rates.js";

const SERIES = [
  ["accepted", "--accent"],
  ["succeeded", "--good"],
  ["failed", "--bad"],
];
const HEIGHT = 180;

/** A custom property of the page's colours, as it is in the present theme. @param {string} name */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`${name}-canvas`).trim() || "#888";
}

/** @param {import("./rates.js").Rates} rates */
function columns({ buckets }) {
  const end = buckets.at(-1)?.second ?? Math.floor(Date.now() / 1000);
  const padded = buckets.length > 0 ? buckets : [{ second: end, accepted: 0, succeeded: 0, failed: 0 }];
  return [padded.map(({ second }) => second), ...SERIES.map(([name]) => padded.map((bucket) => bucket[name]))];
}

/** @param {HTMLElement} place @param {import("./rates.js").Rates} rates */
export async function createChart(place, rates) {
  /** @type {any} */
  const { default: UPlot } = await import("../../vendor/uplot/uplot.js");
  const width = () => Math.max(200, place.clientWidth);
  // Functions, because the theme may change while the chart is there.
  const axis = () => ({ stroke: () => colour("--text"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } });
  const chart = new UPlot(
    {
      width: width(),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { range: (_, from, to) => [Math.max(from, to - SECONDS), Math.max(to, from + 60)] }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
      axes: [axis(), { ...axis(), size: 40 }],
      series: [{}, ...SERIES.map(([label, name]) => ({ label, stroke: () => colour(name), width: 2, points: { show: false } }))],
    },
    columns(rates),
    place,
  );
  const resized = new ResizeObserver(() => chart.setSize({ width: width(), height: HEIGHT }));
  resized.observe(place);
  return {
    /** @param {import("./rates.js").Rates} next */
    show: (next) => chart.setData(columns(next)),
    dispose() {
      resized.disconnect();
      chart.destroy();
    },
  };
}
