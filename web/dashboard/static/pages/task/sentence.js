// Where a task stands, in one sentence.
import { counted, length } from "../../ui/words.js";

/** @param {string} url */
function host(url) {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}

/** Attempts that were begun. @param {any} task */
function attempts(task) {
  return task.attempts?.at(-1)?.number ?? 0;
}

/** @param {any} task @param {string | null} nextTry @param {number} now */
export function sentence(task, nextTry, now) {
  const made = counted(attempts(task), "attempt");
  const from = task.targetUrl ? host(task.targetUrl) : "a worker";
  switch (task.status) {
    case "pending":
      return attempts(task) === 0 ? (task.targetUrl ? "Waits for a free slot." : "Waits for a worker that claims it.") : `Waits for its next attempt${inHowLong(nextTry, now)} after ${made}: ${task.error ?? "the last one failed"}.`;
    case "delayed":
      return `Is not started before ${task.delayUntil}.`;
    case "processing":
      if (!task.targetUrl) return `Is held by ${task.claim?.worker ?? "a worker"}, attempt ${attempts(task)}${task.claim?.progress ? `; ${task.claim.progress.percent} % done` : ""}.`;
      return `${from} is being called, attempt ${attempts(task)}${task.cancelRequested ? "; it was asked to be cancelled, and the call is being cut off" : ""}.`;
    case "completed":
      return `${task.ok ? "Completed" : "Completed without success"} after ${made}: ${task.result?.statusCode ?? "an answer"} from ${from}${lasted(task)}.`;
    case "cancelled":
      return `Cancelled after ${made}.`;
    default:
      return `${task.status === "timeout" ? "Timed out" : "Failed"} after ${made}: ${task.error ?? "no reason is known"}. ${reason(task)}`;
  }
}

function inHowLong(nextTry, now) {
  if (!nextTry) return "";
  const left = Date.parse(nextTry) - now;
  return left > 0 ? `, in ${length(Math.ceil(left / 1000) * 1000)},` : ", now,";
}

function lasted(task) {
  if (!task.startedAt || !task.completedAt) return "";
  return `, ${length(Math.max(0, Date.parse(task.completedAt) - Date.parse(task.createdAt)))} after it was accepted`;
}

/** Why there was no further attempt. @param {any} task */
function reason(task) {
  if (task.endReason === "expired") return "Its deadline passed.";
  if (task.endReason === "timeout") return "The last attempt ran into its limit.";
  if (task.retryCount >= task.maxRetries) return `It gave up because maxRetries is ${task.maxRetries}.`;
  return "The failure was final: it is not one that is retried.";
}
