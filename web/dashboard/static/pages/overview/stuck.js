// What is stuck: queues that are paused, what waits longest, hosts at which nothing starts, workers that are lost.
import { counted, get, href, html, time } from "../../kit.js";
import { pauseWords } from "../queues/page.js";
import { pageOf } from "../targets/page.js";

/** What is asked, beside what a person may not see. */
export const PATHS = ["/v1/queues", "/v1/targets", "/v1/workers"];
/** Of each kind so many are named. */
const MOST = 5;
/** What has waited for less is not stuck, in milliseconds. */
const LONG = 60_000;

/** @param {AbortSignal} signal */
export async function readStuck(signal) {
  // A part that cannot be read now is missing here, and its own page says why.
  const [queues, targets, workers] = await Promise.all(PATHS.map((path) => get(path, { signal }).catch(() => ({}))));
  return { queues: queues.queues ?? [], targets: targets.targets ?? [], workers: workers.workers ?? [] };
}

/** @param {{queues: any[], targets: any[], workers: any[]}} all @param {number} now */
export function stuck({ queues, targets, workers }, now) {
  const oldest = queues.filter(({ pause, oldestPendingSince }) => !pause && oldestPendingSince && now - Date.parse(oldestPendingSince) > LONG);
  return {
    paused: queues.filter(({ pause }) => pause),
    waiting: oldest.sort((one, other) => Date.parse(one.oldestPendingSince) - Date.parse(other.oldestPendingSince)),
    held: targets.filter(({ opened, health }) => opened || (health && health.state !== "closed")),
    lost: workers.filter(({ state, held }) => state === "lost" && held > 0),
  };
}

/** The first words of the overview about it; empty: nothing is. @param {ReturnType<typeof stuck>} found */
export function stuckWords({ paused, held, lost }) {
  return [
    paused.length > 0 && `${counted(paused.length, "queue")} paused`,
    held.length > 0 && `nothing starts at ${held.length > 1 ? counted(held.length, "host") : held[0].host}`,
    lost.length > 0 && `${counted(lost.length, "worker")} lost`,
  ].filter(Boolean).join("; ");
}

/** @param {ReturnType<typeof stuck>} found */
export function stuckList({ paused, waiting, held, lost }) {
  const lines = [
    ...paused.slice(0, MOST).map(({ name, pause }) => html`The queue <a href=${href(`/queues/${name}`)}>${name}</a> is paused ${pauseWords(pause)}.`),
    ...held.slice(0, MOST).map(({ host, health }) => html`Nothing but a probe starts at <a href=${pageOf(host)}>${host}</a>${health?.held ? `; ${counted(health.held, "task")} held back` : ""}.`),
    ...lost.slice(0, MOST).map(({ name, held: tasks }) => html`The worker <a href=${href(`/workers/${encodeURIComponent(name)}`)}>${name}</a> is lost and holds ${counted(tasks, "task")}.`),
    ...waiting.slice(0, MOST).map(({ name, oldestPendingSince }) => html`In <a href=${href(`/queues/${name}`)}>${name}</a> a task waits since ${time(oldestPendingSince)}.`),
  ];
  return html`<section aria-labelledby="stuck-title">
    <h2 id="stuck-title">What is stuck?</h2>
    ${lines.length > 0 ? html`<ul>${lines.map((line) => html`<li>${line}</li>`)}</ul>` : html`<p>Nothing: no queue is paused, no host rests, and no task has waited for a minute.</p>`}
  </section>`;
}
