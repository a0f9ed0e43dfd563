// Queues in words: their state and their limits, and the limits as the API wants them.
import { length, number, numeric } from "../../ui/words.js";

/** @param {any} queue @returns {string} */
export function limitsOf({ concurrency, rate, weight = 1 }) {
  const all = [];
  if (weight > 1) all.push(`weight ${number(weight)}`);
  if (concurrency) all.push(`${number(concurrency)} at a time`);
  if (rate) all.push(`${number(rate.limit)} in ${length(rate.per * 1000)}${rate.burst > 1 ? `, up to ${number(rate.burst)} at once` : ""}`);
  return all.join("; ") || "none";
}

/** The share of failures among what ended lately. @param {{failedShare: number | null}} statistics */
export function failedWords({ failedShare }) {
  return failedShare === null || failedShare === undefined ? "nothing ended" : `${number(Math.round(failedShare * 1000) / 10)} %`;
}

/** Whether a queue that is not paused works, in one sentence. @param {any} queue */
export function stateOf({ counts }) {
  const runs = counts.processing;
  if (runs) return `Active: ${number(runs)} running, ${number(counts.pending)} waiting.`;
  if (counts.pending) return `Active: ${number(counts.pending)} waiting, none running.`;
  return counts.delayed ? `Idle: the ${number(counts.delayed)} tasks that it has are delayed.` : "Idle: no task waits.";
}

/** Defaults of a queue: name, label, hint, whether it is a length of time. @type {[string, string, string, boolean][]} */
export const DEFAULT_FIELDS = [
  ["maxRetries", "Retries", "0 to 10.", false],
  ["retryBackoff", "Pauses between them", "exponential, linear, fixed, overnight, or 1s, 5s, 1m.", false],
  ["minDelay", "Shortest pause", "", true],
  ["maxDelay", "Longest pause", "", true],
  ["jitter", "Spread of pauses", "none, tenth, full, or a share from 0 to 1.", false],
  ["maxAge", "No retry later than", "After the creation.", true],
  ["timeout", "An attempt may take", "Seconds.", false],
  ["maxWaitTime", "An exchange may take", "Seconds.", false],
  ["capture", "Calls are captured", "false: nothing of what they send and are answered is kept.", false],
];

/** @param {any} value @param {boolean} isLength */
export function shownDefault(value, isLength) {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.map(written).join(", ");
  return isLength ? written(value) : String(value);
}

/** A default as the API wants it; the pauses are one word, or several lengths. @param {string} name @param {string} text */
function wantedDefault(name, text) {
  if (name === "capture" && ["true", "false"].includes(text)) return text === "true";
  if (name !== "retryBackoff") return numeric(text);
  const parts = text.split(/[\s,]+/).filter(Boolean);
  return parts.length === 1 && /^[a-z]+$/.test(parts[0]) ? parts[0] : parts;
}

/** What the API tells of a queue and nobody sets. */
const TOLD = ["name", "environment", "state", "pause", "counts", "oldestPendingSince", "statistics"];

/** All settings of a queue: those of the form, and whatever else it has, since the API replaces all of them. @param {Record<string, string>} values @param {any} queue */
export function wantedSettings(values, queue) {
  const others = Object.entries(queue).filter(([name, value]) => value !== null && ![...TOLD, "concurrency", "rate", "weight", "defaults"].includes(name));
  const given = DEFAULT_FIELDS.map(([name]) => [name, values[`defaults.${name}`].trim()]).filter(([, text]) => text);
  const defaults = Object.fromEntries(given.map(([name, text]) => [name, wantedDefault(name, text)]));
  const weight = values.weight.trim();
  return { ...Object.fromEntries(others), ...wantedLimits(values), ...(weight ? { weight: numeric(weight) } : {}), ...(given.length > 0 ? { defaults } : {}) };
}

/** A length as people write it for the API. @param {number} seconds */
export function written(seconds) {
  if (seconds % 86_400 === 0) return `${seconds / 86_400}d`;
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
