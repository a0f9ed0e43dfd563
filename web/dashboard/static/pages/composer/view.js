// How the composer looks: the form on the left, the JSON on the right, always in step.
import { fieldError, html, live, nothing, numeric } from "../../kit.js";
import { bodyKind, bodyText, pauses, words } from "./draft.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("../../core/failure.js").Failure | null} Failure */

const METHODS = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD"];
/** Fields of one line: name, label, hint, how its text is read, how its value is written. @type {[string, string, string, (text: string) => any][]} */
const LINES = [
  ["queue", "Queue", "Default: default", String],
  ["delay", "Delay", "5m, 1h30m, 7d", String],
  ["delayUntil", "Not before", "2030-01-31T12:00:00Z", String],
  ["expiresIn", "Ends at the latest after", "6h", String],
  ["maxRetries", "Retries", "0 to 10; default 3", numeric],
  ["retryBackoff", "Pauses", "exponential, linear, overnight, or 10s, 5m, 2h", pauses],
  ["timeout", "Limit of an attempt, in seconds", "Default 30", numeric],
  ["success", "Success is", "2xx or 2xx,404", String],
  ["priority", "Priority", "1 to 10; default 5", numeric],
  ["tags", "Tags", "invoices, weekly", words],
  ["onCompleteUrl", "Webhook when it has ended", "https://…", String],
];
const KNOWN = ["targetUrl", "method", "headers", "body", "json", ...LINES.map(([name]) => name)];

/** @param {any} value */
function shown(value) {
  return Array.isArray(value) ? value.join(", ") : value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** @param {Draft} draft @param {(event: import("./draft.js").DraftEvent) => void} dispatch @param {Failure} failure */
export function form(draft, dispatch, failure) {
  const { task, wrong } = draft;
  const set = (field, value) => dispatch({ type: "set", field, value });
  const isWrong = (name) => (failure?.field === name ? "true" : nothing);
  return html`<fieldset class="composer-form" ?disabled=${wrong !== ""}>
    <legend>Form</legend>
    <div class="field">
      <label for="targetUrl">Target URL</label>
      <input id="targetUrl" type="url" required .value=${live(shown(task.targetUrl))} aria-invalid=${isWrong("targetUrl")} @input=${(event) => set("targetUrl", event.target.value)} />
      ${fieldError(failure, "targetUrl")}
    </div>
    <div class="field">
      <label for="method">Method</label>
      <select id="method" @change=${(event) => set("method", event.target.value)}>
        ${METHODS.map((method) => html`<option .selected=${(task.method ?? "POST") === method}>${method}</option>`)}
      </select>
    </div>
    ${headerRows(task, dispatch, failure)} ${body(task, dispatch, failure)}
    <div class="grid">
      ${LINES.map(
        ([name, label, hint, read]) => html`<div class="field">
          <label for=${name}>${label}</label>
          <input id=${name} .value=${live(shown(task[name]))} placeholder=${hint} aria-invalid=${isWrong(name)} @change=${(event) => set(name, read(event.target.value))} />
          ${fieldError(failure, name)}
        </div>`,
      )}
    </div>
  </fieldset>`;
}

function headerRows(task, dispatch, failure) {
  const headers = /** @type {[string, string][]} */ (Object.entries(task.headers ?? {}));
  const change = (n, pair) => dispatch({ type: "headers", headers: headers.map((old, m) => (m === n ? pair : old)) });
  return html`<fieldset class="headers">
    <legend>Headers</legend>
    ${headers.map(
      ([name, value], n) => html`<div class="pair">
        <input aria-label=${`Name of header ${n + 1}`} .value=${live(name)} @change=${(event) => change(n, [event.target.value, value])} />
        <input aria-label=${`Value of ${name}`} .value=${live(shown(value))} @change=${(event) => change(n, [name, event.target.value])} />
        <button type="button" class="quiet" aria-label=${`Take out ${name}`} @click=${() => dispatch({ type: "headers", headers: headers.filter((_, m) => m !== n) })}>Take out</button>
      </div>`,
    )}
    <button type="button" class="quiet" @click=${() => dispatch({ type: "headers", headers: [...headers, [freeName(task.headers), ""]] })}>Add a header</button>
    ${fieldError(failure, "headers")}
  </fieldset>`;
}

/** @param {Record<string, string> | undefined} headers */
function freeName(headers = {}) {
  for (let n = 1; ; n += 1) {
    const name = `X-Header-${n}`;
    if (!(name in headers)) return name;
  }
}

function body(task, dispatch, failure) {
  const kind = bodyKind(task);
  const text = bodyText(task);
  const become = (wanted) => dispatch({ type: "body", kind: wanted, text: wanted === "json" && !text ? "{}" : text });
  return html`<fieldset class="body-kind">
    <legend>Body</legend>
    ${[["none", "None"], ["json", "JSON"], ["text", "Text"]].map(
      ([value, label]) => html`<label class="inline"><input type="radio" name="body-kind" value=${value} .checked=${kind === value} @change=${() => become(value)} /> ${label}</label>`,
    )}
    ${kind === "none"
      ? nothing
      : html`<textarea aria-label="Body" rows="6" spellcheck="false" .value=${live(text)} @change=${(event) => dispatch({ type: "body", kind, text: event.target.value })}></textarea>`}
    ${fieldError(failure, "body")} ${fieldError(failure, "json")}
  </fieldset>`;
}

/** @param {Draft} draft @param {(event: import("./draft.js").DraftEvent) => void} dispatch */
export function source(draft, dispatch) {
  return html`<div class="field source">
    <label for="json">JSON</label>
    <textarea
      id="json"
      rows="24"
      spellcheck="false"
      .value=${live(draft.text)}
      aria-invalid=${draft.wrong ? "true" : nothing}
      aria-describedby=${draft.wrong ? "json-wrong" : nothing}
      @input=${(event) => dispatch({ type: "typed", text: event.target.value })}
    ></textarea>
    ${draft.wrong ? html`<p class="field-error" id="json-wrong">${draft.wrong}. The form waits until it is whole again.</p>` : nothing}
  </div>`;
}

/** Whether the form shows the field that a refusal is about. @param {Failure} failure */
export function isBesideField(failure) {
  return failure?.field !== undefined && KNOWN.includes(failure.field);
}
