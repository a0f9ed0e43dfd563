// The overview: is it healthy, what is happening, what is there, what failed lately.
import {
  createReading, createStore, currentTeam, environment, get, html, loaded, nothing, readStats, statsPath, taskEvents, withQuery,
} from "../../kit.js";
import { causes } from "./causes.js";
import { createFirstRun } from "./first-run.js";
import { noRates, reduce } from "./rates.js";
import { PATHS, readStuck, stuck, stuckList, stuckWords } from "./stuck.js";
import { counts, failureList, happening, health } from "./view.js";

/** The counts are read by several requests: so many times rarer than a list. */
const RARER = 5;
/** Failures that are read and grouped: a page of the list. */
const LATEST = 100;
const DAY = 86_400_000;

export function open() {
  const team = currentTeam()?.id;
  const rates = createStore(reduce, noRates);
  const since = new Date(Math.floor((Date.now() - DAY) / 60_000) * 60_000).toISOString();
  const paths = {
    usage: `/teams/${team}/usage`,
    failed: withQuery("/v1/tasks", { kind: "all", status: "failed,timeout", createdAfter: since, limit: LATEST, fields: "targetUrl,error,endReason,completedAt" }),
    last: withQuery("/v1/tasks", { kind: "all", status: "completed", ok: "true", limit: 1, fields: "completedAt" }),
    stats: statsPath(),
  };
  const reading = createReading({
    page: "/",
    path: () => paths.usage,
    rarer: RARER,
    async read(signal) {
      const [usage, failed, last, stats, standing] = await Promise.all([...[paths.usage, paths.failed, paths.last].map((path) => get(path, { signal })), readStats(paths.stats, signal), readStuck(signal)]);
      return { usage: usage.usage[environment()], failed, last: last.tasks[0], stats, standing };
    },
  });
  const unsubscribe = taskEvents.subscribe({ events: (events) => rates.dispatch({ type: "happened", events }), resync() {} });
  const second = setInterval(() => rates.dispatch({ type: "passed", at: Date.now() }), 1000);
  const firstRun = createFirstRun();

  return {
    title: "Overview",
    requests: () => [...Object.values(paths), ...PATHS].map((path) => ({ method: "GET", path })),
    view: () => html`<h1>Overview</h1>
      ${firstRun?.view() ?? nothing}
      ${loaded(reading.loader, ({ usage, failed, last, stats, standing }) => {
        const holds = stuck(standing, Date.now());
        const what = stuckWords(holds);
        const isAll = failed.pagination.total <= failed.tasks.length;
        const found = causes(failed.tasks);
        const { total } = failed.pagination;
        return html`<p class="sentence">${what ? `${what[0].toUpperCase()}${what.slice(1)}. ` : ""}${health(found, total, failed.pagination.totalExact)}</p>
          ${happening(rates.state, stats)} ${stuckList(holds)} ${counts(usage, last)} ${failureList(found, { isAll, since, count: failed.tasks.length })}`;
      })}`,
    dispose() {
      unsubscribe();
      firstRun?.dispose();
      reading.dispose();
      clearInterval(second);
    },
  };
}
