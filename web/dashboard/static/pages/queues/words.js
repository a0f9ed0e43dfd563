// Queues in words: their state and their limits, and the limits as the API wants them.
import { length, number, numeric } from "../../ui/words.js";

/** @param {any} queue @returns {string} */
export function limitsOf({ concurrency, rate }) {
  const all = [];
  if (concurrency) all.push(`${number(concurrency)} at a time`);
  if (rate) all.push(`${number(rate.limit)} in ${length(rate.per * 1000)}${rate.burst > 1 ? `, up to ${number(rate.burst)} at once` : ""}`);
  return all.join("; ") || "none";
}

/** Whether a queue that is not paused works, in one sentence. @param {any} queue */
export function stateOf({ counts }) {
  const runs = counts.processing;
  if (runs) return `Active: ${number(runs)} running, ${number(counts.pending)} waiting.`;
  if (counts.pending) return `Active: ${number(counts.pending)} waiting, none running.`;
  return counts.delayed ? `Idle: the ${number(counts.delayed)} tasks that it has are delayed.` : "Idle: no task waits.";
}

/** A length as people write it for the API. @param {number} seconds */
export function written(seconds) {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}

/** The limits that a form asks for: what is empty is no limit. @param {Record<string, string>} values */
export function wantedLimits(values) {
  const [concurrency, limit, per, burst] = ["concurrency", "rate.limit", "rate.per", "rate.burst"].map((name) => values[name].trim());
  const given = Object.entries({ limit: numeric(limit), per, burst: numeric(burst) }).filter(([, value]) => value !== "");
  return { ...(concurrency ? { concurrency: numeric(concurrency) } : {}), ...(given.length > 0 ? { rate: Object.fromEntries(given) } : {}) };
}

/** When the first of some pauses ends by itself, in milliseconds since 1970; `undefined`: none does. @param {any[]} queues */
export function nextEnd(queues) {
  const ends = queues.filter(({ pause }) => pause?.until).map(({ pause }) => Date.parse(pause.until));
  return ends.length > 0 ? Math.min(...ends) : undefined;
}
