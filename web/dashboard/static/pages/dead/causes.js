// The causes of dead letters, and how one of them is asked for.
import { href } from "../../core/location.js";

/** What the API puts in place of what differs from task to task. */
const PLACEHOLDER = /<(?:n|id|text|url)>/;

/** @param {any} group */
export function keyOf({ host, httpStatus, error }) {
  return JSON.stringify([host, httpStatus, error]);
}

/** The longest part of an error that all tasks of the cause have in common. @param {string} error */
export function commonPart(error) {
  return error.split(PLACEHOLDER).reduce((longest, part) => (part.trim().length > longest.length ? part.trim() : longest), "");
}

/** The filters that find the dead letters of a cause. The API has none for "no answer", so there the error alone tells. @param {any} group */
export function filtersOfCause({ host, httpStatus, error }) {
  return { host, ...(httpStatus === null ? {} : { httpStatus: String(httpStatus) }), errorContains: commonPart(error) };
}

/** Where an operation begins that retries all that match; those tried again already are no part of it. @param {Record<string, string>} filters */
export function retryAll({ retried, ...filters }) {
  return href("/operations/new", { ...filters, action: "retry" });
}

/** Where an operation begins that takes all that match off the list of dead letters. @param {Record<string, string>} filters */
export function purgeAll({ retried, ...filters }) {
  return href("/operations/new", { ...filters, status: "failed,timeout", action: "purge" });
}

/** What became of a probe, from the events of its task. @param {{id: string, status: string}} probe @param {any[]} events */
export function followed(probe, events) {
  return events.reduce((now, { taskId, status, ok }) => (taskId === probe.id && status ? { ...now, status, ok } : now), probe);
}
