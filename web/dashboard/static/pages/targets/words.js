// Hosts in words: their rules, how they do, and the rule of a form as the API wants it.
import { SHAPES } from "../../ui/status.js";
import { counted, length, numeric } from "../../ui/words.js";

/** @param {any} rule @returns {string} */
export function ruleWords(rule) {
  if (!rule) return "none";
  const { failuresInARow, failureShare, pause, maxPause, disableAfter } = rule;
  const when = [];
  if (failuresInARow) when.push(`${counted(failuresInARow, "failure")} in a row`);
  if (failureShare) when.push(`${failureShare.percent} % of the latest ${failureShare.of} attempts failed`);
  return `${when.join(", or ")}: rests ${length(pause * 1000)} at first, ${length(maxPause * 1000)} at most${disableAfter ? `; given up after ${length(disableAfter * 1000)} of failures` : ""}`;
}

/** The rule that a form asks for. Without a condition it is no rule at all. @param {Record<string, string>} values */
export function wantedRule(values) {
  const [row, percent, of, pause, maxPause, disableAfter] = ["failuresInARow", "failureShare.percent", "failureShare.of", "pause", "maxPause", "disableAfter"].map((name) => values[name].trim());
  const share = Object.entries({ percent: numeric(percent), of: numeric(of) }).filter(([, value]) => value !== "");
  return {
    ...(row ? { failuresInARow: numeric(row) } : {}),
    ...(share.length > 0 ? { failureShare: Object.fromEntries(share) } : {}),
    ...(pause ? { pause } : {}),
    ...(maxPause ? { maxPause } : {}),
    ...(disableAfter ? { disableAfter } : {}),
  };
}

/** The host of what people type: a URL, or a host. @param {string} text */
export function hostOf(text) {
  const given = text.trim();
  try {
    return new URL(given.includes("://") ? given : `http://${given}`).host;
  } catch {
    return given;
  }
}

/** Word, shape and tone of each state. @type {Record<string, [string, string, string]>} */
export const STATES = {
  closed: ["closed", SHAPES.done, "good"],
  probing: ["probing", SHAPES.goes, "busy"],
  open: ["open", SHAPES.rests, "bad"],
};
