// Requests to the public API: the only way in which the dashboard reads or changes anything.
import { Failure } from "./failure.js";
import { noteLimit } from "./pace.js";
import { accessToken } from "./session.js";
import { teamHeaders } from "./team.js";
import { untracked } from "../vendor/signals-core/signals-core.js";

/**
 * @typedef {object} Call
 * @property {string} method
 * @property {string} path With its query.
 * @property {object} [body] Sent as JSON.
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 */

/** A path with parameters; empty ones are left out. @param {string} path @param {Record<string, string | number | undefined>} parameters */
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined && value !== "") query.set(name, String(value));
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return text ? `${path}?${text}` : path;
}

/** Sends a request with the access token and the team of the page. An expired token is replaced once. @param {Call} call @returns {Promise<Response>} */
export async function send({ method, path, body, headers = {}, signal }) {
  const own = untracked(teamHeaders);
  let bearer = await accessToken();
  for (let attempt = 0; ; attempt += 1) {
    let response;
    try {
      response = await fetch(path, {
        method,
        signal,
        headers: {
          authorization: `Bearer ${bearer}`,
          ...own,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw Failure.unreachable();
    }
    noteLimit(response);
    if (response.ok) return response;
    if (response.status === 401 && attempt === 0) {
      bearer = await accessToken(bearer);
      continue;
    }
    throw Failure.answered(response, await response.json().catch(() => null));
  }
}

/** The JSON of an answer. @param {Call} call @returns {Promise<any>} */
export async function request(call) {
  const response = await send(call);
  return response.status === 204 ? null : response.json();
}

/** @param {string} path @param {{signal?: AbortSignal}} [how] @returns {Promise<any>} */
export function get(path, how = {}) {
  return request({ method: "GET", path, ...how });
}
