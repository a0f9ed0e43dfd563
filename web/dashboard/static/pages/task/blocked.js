// Why a task waits, in one sentence for each kind of reason.
import { counted, href, html, nothing, number, time } from "../../kit.js";

/** The API counts no further. */
const MOST_AHEAD = 10_000;

/** What helps, for the kinds where a person can do something. @type {Record<string, string>} */
const HELP = {
  not_due: "Run it now, if it need not wait.",
  retry_pause: "Run it now, if what failed is mended.",
  queue_paused: "It starts once the queue is resumed.",
  queue_concurrency: "It starts when one of them ends, or when the queue may have more.",
  queue_rate: "It starts as the rate of the queue allows.",
  team_full: "It starts when one of the team's running tasks ends.",
  host_full: "It starts when a call of its host ends.",
  order_blocked: "It starts once that one is retried and completes, or is unblocked.",
  predecessors: "It starts when they have completed.",
  no_slot: "It starts when any task of the worker ends; more workers help.",
};

/** @param {any} explanation */
export function blockedSentence({ blockedBy, aheadOfYou, earliestStart }) {
  if (!blockedBy) return nothing;
  const { kind, message, until, taskId } = blockedBy;
  const ahead = aheadOfYou ? ` ${aheadOfYou >= MOST_AHEAD ? `At least ${number(aheadOfYou)} tasks are` : aheadOfYou === 1 ? "1 task is" : `${counted(aheadOfYou, "task")} are`} ahead of it.` : "";
  const start = earliestStart && earliestStart !== until ? html` Not before ${time(earliestStart)}.` : nothing;
  return html`<span data-kind=${kind}
    >${message}${until ? html` (${time(until)})` : nothing}${taskId ? html`: <a href=${href(`/tasks/${taskId}`)}>…${taskId.slice(-10)}</a>` : nothing}.
    ${HELP[kind] ?? ""}${ahead}${start}</span
  >`;
}
