// When a schedule is due, in words; what became of its runs; and a schedule as the API wants it.
import { lookOf, SHAPES } from "../../ui/status.js";
import { numeric } from "../../ui/words.js";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/** A value of a field of cron by its name. @param {string} text @param {string[]} names @param {number} first The number of the first name. */
function named(text, names, first) {
  const short = names.findIndex((name) => name.slice(0, 3).toUpperCase() === text.toUpperCase());
  if (short >= 0) return names[short];
  return /^\d+$/.test(text) ? names[(Number(text) - first) % names.length] : undefined;
}

/** Several values or spans: `Monday to Friday, Sunday`; `undefined` where they are something else. @param {string} text @param {(one: string) => string | undefined} name */
function list(text, name) {
  const all = text.split(",").map((part) => {
    const ends = part.split("-").map(name);
    return ends.length <= 2 && ends.every((end) => end !== undefined) ? ends.join(" to ") : undefined;
  });
  return all.includes(undefined) ? undefined : all.join(", ");
}

const isNumber = (text) => /^\d+$/.test(text);
const two = (text) => text.padStart(2, "0");

/** At which times of a day. @param {string} minute @param {string} hour */
function clock(minute, hour) {
  const step = /^\*\/(\d+)$/;
  if (hour === "*") {
    if (minute === "*") return "every minute";
    if (step.test(minute)) return `every ${step.exec(minute)?.[1]} minutes`;
    return isNumber(minute) ? `every hour at :${two(minute)}` : undefined;
  }
  if (!isNumber(minute)) return undefined;
  if (step.test(hour)) return `every ${step.exec(hour)?.[1]} hours at :${two(minute)}`;
  const hours = hour.split(",");
  return hours.every(isNumber) ? `at ${hours.map((one) => `${two(one)}:${two(minute)}`).join(", ")}` : undefined;
}

/** @param {string} fields */
function cronWords(fields) {
  const [minute, hour, day, month, weekday] = fields.trim().split(/\s+/);
  if (weekday === undefined) return undefined;
  const at = clock(minute, hour);
  const onDay = day === "*" ? "" : list(day, (one) => (isNumber(one) ? one : undefined));
  const onWeekday = weekday === "*" ? "" : list(weekday, (one) => named(one, DAYS, 0));
  const inMonth = month === "*" ? "" : list(month, (one) => named(one, MONTHS, 1));
  if ([at, onDay, onWeekday, inMonth].includes(undefined)) return undefined;
  const days = [onWeekday, onDay && `day ${onDay} of the month`].filter(Boolean).join(" and on ");
  return `${at}${days ? ` on ${days}` : /^at /.test(String(at)) ? " every day" : ""}${inMonth ? ` in ${inMonth}` : ""}`;
}

/** When it is due; what is too special for words stays as it is written. @param {string} when */
export function whenWords(when) {
  const cron = /^cron\((.*)\)$/.exec(when);
  if (cron) return cronWords(cron[1]) ?? when;
  const once = /^at (.*)$/.exec(when);
  return once ? `once, at ${once[1].replace("T", " ")}` : when;
}

/** Look of each outcome. @type {Record<string, [string, string, string]>} */
export const OUTCOMES = {
  fired: ["fired", SHAPES.done, "good"],
  skipped: ["skipped", SHAPES.off, "plain"],
  missed: ["missed", SHAPES.off, "bad"],
  paused: ["paused", SHAPES.rests, "warn"],
};

/** How a run looks in a row of several: a task by how it is, another instant by why there is none. @param {{outcome: string, status?: string}} run @returns {[string, string, string]} */
export function runLook({ outcome, status }) {
  return outcome === "fired" && status ? lookOf(status) : OUTCOMES[outcome] ?? [outcome, SHAPES.off, "plain"];
}

/** What happens when an instant is due before an earlier run has ended. @type {[string, string][]} */
export const OVERLAPS = [
  ["skip", "is left out"],
  ["bufferAll", "waits for the end of the one before"],
  ["cancelOther", "cancels the earlier ones, and starts after their end"],
  ["allow", "runs beside it"],
];

/** What is caught up. @param {{mode: string, max?: number, within?: number}} policy */
export function catchUpWords({ mode, max, within }) {
  if (mode === "none") return "nothing: late instants are missed";
  return mode === "last" ? "the last late instant" : `the last ${max} late instants of ${within} s`;
}

/** Inputs of the form: name, label, hint. The task and the choices stand apart. @type {[string, string, string][]} */
export const INPUTS = [
  ["name", "Name", "For people."],
  ["when", "When", "cron(0 9 * * MON-FRI), every 5m, or at 2030-01-31T09:00"],
  ["zone", "Zone", "Whose clocks, such as Europe/Madrid. Empty: UTC."],
  ["jitter", "Spread", "Each run starts up to so much later, such as 30s. Empty: not at all."],
  ["from", "Not before", "Your local time. Empty: from now."],
  ["until", "Not after", "Your local time. Empty: for ever."],
];
/** Fields beside which the form says what is wrong with them. */
export const NAMES = [...INPUTS.map(([name]) => name), "overlap", "catchUp.mode", "catchUp.max", "catchUp.within", "task"];

/** A schedule as the API wants it, of what a form has; what is empty is left to the API. @param {Record<string, string>} values @param {any} task */
export function wanted(values, task) {
  const date = (text) => text && new Date(text).toISOString();
  const { name, when, zone, jitter, from, until, overlap } = values;
  const texts = Object.entries({ name, when, zone, jitter, from: date(from), until: date(until), overlap }).filter(([, value]) => value);
  const given = ["mode", "max", "within"].map((part) => [part, numeric((values[`catchUp.${part}`] ?? "").trim())]).filter(([, value]) => value !== "");
  return { ...Object.fromEntries(texts), ...(given.length > 0 ? { catchUp: Object.fromEntries(given) } : {}), task };
}
