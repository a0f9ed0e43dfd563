// The draft of a task: its JSON is the state, and the form is a way to look at it. What the form does not know stays as it is.

/** @typedef {{text: string, task: Record<string, any>, wrong: string}} Draft `wrong`: why the text is no JSON object; `task` is then the last one that was. */
/**
 * @typedef {{type: "typed", text: string}
 *   | {type: "set", field: string, value: any}
 *   | {type: "headers", headers: [string, string][]}
 *   | {type: "body", kind: "none" | "json" | "text", text: string}
 *   | {type: "replaced", task: Record<string, any>}} DraftEvent
 */

/** A first task that works wherever it is tried: Waybill's own health page. @param {string} origin @returns {Draft} */
export function firstDraft(origin) {
  return written({ targetUrl: `${origin}/healthz`, method: "GET" });
}

/** First tries with a target that takes everything: name, what is shown, the task. @param {string} sink Its address. @returns {[string, string, Record<string, any>][]} */
export function firstTries(sink) {
  const failing = { success: "2xx", retryBackoff: ["2s", "2s", "2s"] };
  return [
    ["call", "A call", { targetUrl: sink, json: { hello: "world" } }],
    ["callback", "A webhook at its end", { targetUrl: sink, json: { hello: "world" }, onCompleteUrl: sink }],
    ["retry", "A failure that is retried", { targetUrl: `${sink}?fail=2`, json: { hello: "world" }, ...failing }],
    ["dead", "One that fails for good", { targetUrl: `${sink}?fail=99`, json: { hello: "world" }, ...failing, maxRetries: 1 }],
  ];
}

/** What of a task is part of its request. Dates are not: they lie in the past. */
const ASKED = [
  ...["targetUrl", "method", "headers", "queue", "priority", "fairnessKey", "orderingKey", "onFailure", "timeout", "success", "retryOn", "maxRetries"],
  ...["retryBackoff", "minDelay", "maxDelay", "jitter", "maxAge", "followRedirects", "resolve", "tags", "metadata", "onCompleteUrl"],
];

/** The request of a task, as it was accepted. @param {any} task @returns {Record<string, any>} */
export function requestOf(task) {
  const isGiven = (value) => value !== null && value !== undefined && !(typeof value === "object" && Object.keys(value).length === 0);
  const request = Object.fromEntries(ASKED.map((name) => [name, task[name]]).filter(([, value]) => isGiven(value)));
  if (task.body === null || task.body === undefined) return request;
  if (task.bodyEncoding) return { ...request, body: task.body, bodyEncoding: task.bodyEncoding };
  return withBody(request, /json/.test(Object.entries(task.headers).find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "") ? "json" : "text", task.body);
}

/** What a draft changes of a request: the API keeps the rest. @param {Record<string, any>} before @param {Record<string, any>} now */
export function changes(before, now) {
  return Object.fromEntries(Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
}

/** @param {Record<string, any>} task @returns {Draft} */
function written(task) {
  return { text: JSON.stringify(task, null, 2), task, wrong: "" };
}

/** @param {Draft} draft @param {DraftEvent} event @returns {Draft} */
export function reduce(draft, event) {
  switch (event.type) {
    case "typed":
      return typed(draft, event.text);
    case "set":
      return written(withField(draft.task, event.field, event.value));
    case "headers":
      return written(withField(draft.task, "headers", event.headers.length > 0 ? Object.fromEntries(event.headers) : undefined));
    case "body":
      return written(withBody(draft.task, event.kind, event.text));
    case "replaced":
      return written(event.task);
    default:
      return draft;
  }
}

/** @param {Draft} draft @param {string} text @returns {Draft} */
function typed(draft, text) {
  let task;
  try {
    task = JSON.parse(text);
  } catch (error) {
    return { ...draft, text, wrong: `This is no JSON: ${/** @type {Error} */ (error).message}` };
  }
  if (typeof task !== "object" || task === null || Array.isArray(task)) return { ...draft, text, wrong: "A task is a JSON object" };
  return { text, task, wrong: "" };
}

/** An empty value takes the field out: the API then decides by its default. @param {Record<string, any>} task @param {string} field @param {any} value */
function withField(task, field, value) {
  const { [field]: _, ...rest } = task;
  if (value === undefined || value === "" || (Array.isArray(value) && value.length === 0)) return rest;
  return field in task ? { ...task, [field]: value } : { ...rest, [field]: value };
}

/** @param {Record<string, any>} task @param {string} kind @param {string} text */
function withBody(task, kind, text) {
  const { body: _, json: __, bodyEncoding: ___, ...rest } = task;
  if (kind === "none") return rest;
  if (kind === "text") return { ...rest, body: text };
  try {
    return { ...rest, json: JSON.parse(text) };
  } catch {
    // Half-typed JSON is sent by nobody: it stays a text until it is whole.
    return { ...rest, body: text };
  }
}

/** @param {Record<string, any>} task @returns {"none" | "json" | "text"} */
export function bodyKind(task) {
  if ("json" in task) return "json";
  return "body" in task ? "text" : "none";
}

/** @param {Record<string, any>} task */
export function bodyText(task) {
  if ("json" in task) return JSON.stringify(task.json, null, 2);
  return typeof task.body === "string" ? task.body : "";
}

/** A list as people write it: `a, b`. @param {string} text */
export function words(text) {
  return text.split(",").map((word) => word.trim()).filter(Boolean);
}

/** The pauses between attempts: the name of a growth, or lengths. @param {string} text */
export function pauses(text) {
  return text.includes(",") || /^\d/.test(text) ? words(text) : text;
}
