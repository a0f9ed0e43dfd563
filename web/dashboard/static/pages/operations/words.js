// Operations in words, and the filter of an address as the API wants it.
import { SHAPES } from "../../ui/status.js";
import { counted, length, number, numeric } from "../../ui/words.js";

/** What an operation does to each task, and which tasks it is for. @type {Record<string, [string, string]>} */
export const ACTIONS = {
  retry: ["Retry", "dead letters that were not tried again: each gets a new task with the same request, once"],
  replay: ["Replay", "tasks that have ended: each gets a new task with the same request"],
  cancel: ["Cancel", "tasks that have not ended: they end at once, and a call that runs is cut off"],
  purge: ["Purge", "dead letters: they leave the list of them, and the tasks stay as they ended"],
  undo: ["Undo", "tasks that an operation has cancelled, or whose priority it has changed"],
  changePriority: ["Change the priority of", "tasks that wait: they have the new priority at once"],
};

/** Look of each state. @type {Record<string, [string, string, string]>} */
export const STATES = {
  running: ["running", SHAPES.goes, "busy"],
  paused: ["paused", SHAPES.rests, "warn"],
  completed: ["completed", SHAPES.done, "good"],
  cancelled: ["cancelled", SHAPES.off, "plain"],
};

/** Filters whose value is a list, and those whose value is no text. */
const LISTS = ["status", "queue", "tag", "host", "httpStatus"];
const TEXTS = ["errorContains", "createdAfter", "createdBefore", "completedAfter", "completedBefore", "target", "q", "webhook", "actor"];
/** Filters of an address that the API of operations has, too. */
export const NAMES = [...LISTS, ...TEXTS, "minAttempts", "ok"];

/** @param {Record<string, string>} given As lists have them, with commas. */
export function wantedFilter(given) {
  const value = (name, text) => {
    if (LISTS.includes(name)) return text.split(",").map((one) => one.trim()).filter(Boolean);
    if (name === "ok") return text === "true" ? true : text === "false" ? false : text;
    return name === "minAttempts" ? numeric(text) : text;
  };
  return Object.fromEntries(NAMES.filter((name) => given[name]).map((name) => [name, value(name, given[name])]));
}

/** Which tasks it is for. @param {any} operation */
export function whichWords({ filter, ids, undoes, matched }) {
  if (undoes) return "what another operation has done";
  if (!filter) return `${counted(ids?.length || matched, "task")}, named by id`;
  const all = Object.entries(filter).map(([name, value]) => `${name}: ${[value].flat().join(", ")}`);
  return all.join("; ") || "every task";
}

/** How far it has come, and how long the rest takes at most. @param {any} operation */
export function progressWords({ state, done, refused, matched, rate }) {
  const left = Math.max(0, matched - done - refused);
  const open = state === "running" && left > 0 ? `, at ${number(rate)} a second at most ${length(Math.ceil(left / rate) * 1000)} more` : "";
  return `${number(done)} of ${counted(matched, "task")} done${refused > 0 ? `, ${number(refused)} refused` : ""}${open}`;
}

/** Whether what it did can still be undone: for ten minutes after its end. @param {any} operation @param {number} now */
export function isUndoable({ action, endedAt, done }, now) {
  return ["cancel", "changePriority"].includes(action) && done > 0 && endedAt !== null && now - Date.parse(endedAt) < 600_000;
}
