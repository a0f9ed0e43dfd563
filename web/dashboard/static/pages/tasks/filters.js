// The filters of the list of tasks: exactly those that `GET /v1/tasks` has, and the address holds them.

/** @typedef {Record<string, string>} Filters */

export const STATUSES = ["pending", "delayed", "processing", "completed", "failed", "timeout", "cancelled"];
/** Filters that are texts: parameter, label, hint. @type {[string, string, string][]} */
export const TEXTS = [
  ["q", "Search", "Part of an id, URL or queue"],
  ["target", "Target", "A URL, or its beginning with * at the end"],
  ["queue", "Queues", "Separated by commas"],
  ["tag", "Tags", "All of them, separated by commas"],
  ["host", "Host", "api.example.com"],
  ["httpStatus", "Last answer", "503 or 5xx"],
  ["errorContains", "Error", "Part of it"],
  ["minAttempts", "Attempts", "At least"],
  ["actor", "Created by", "Id of a key, person or application"],
];
/** Filters with few values. @type {[string, string, string[]][]} */
export const CHOICES = [
  ["ok", "Success", ["true", "false"]],
  ["webhook", "Webhook", ["pending", "delivered", "given_up"]],
];
export const NAMES = ["status", ...TEXTS.map(([name]) => name), ...CHOICES.map(([name]) => name), "createdAfter", "createdBefore"];
/** What a row shows. Without bodies and answers a page is read much faster. */
const FIELDS = "status,queue,targetUrl,method,maxRetries,retryCount,ok,endReason,error,cancelRequested,webhook,createdAt,updatedAt,startedAt,completedAt";
export const PAGE = 50;

/** Filters that are often wanted. @param {number} now @param {string} [me] Id of whoever looks. @returns {[string, Filters][]} */
export function presets(now, me) {
  const ago = (millis) => new Date(now - millis).toISOString();
  return [
    ["All", {}],
    ["In flight", { status: "pending,delayed,processing" }],
    ["Failed, last hour", { status: "failed,timeout", createdAfter: ago(3_600_000) }],
    ["Completed, not ok", { status: "completed", ok: "false" }],
    ["Waiting over a minute", { status: "pending", createdBefore: ago(60_000) }],
    ...(me ? [/** @type {[string, Filters]} */ (["Mine", { actor: me }])] : []),
  ];
}

/** @param {string} list @param {string} status @returns {string} The list with that status taken in, or out. */
export function toggled(list, status) {
  const chosen = new Set(list.split(",").filter(Boolean));
  if (!chosen.delete(status)) chosen.add(status);
  return STATUSES.filter((known) => chosen.has(known)).join(",");
}

/** The parameters of the request: called tasks and pulled ones. @param {Filters} filters @param {string} cursor */
export function listParameters(filters, cursor) {
  return { ...filters, kind: "all", limit: PAGE, cursor, fields: FIELDS };
}
