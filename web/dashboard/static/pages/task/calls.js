// The calls of a task: what each sent and was answered, as it was kept, and what differs from the one before.
import { copyButton, createLoader, empty, get, here, html, icon, length, loaded, nothing, saveFile, setQuery, size, time } from "../../kit.js";
import { differences, shortened } from "./diff.js";

/** How a body is shown. */
const SHAPES = ["pretty", "raw", "hex"];
const ROW = 16;

/** JSON with indents, anything else as it is. @param {string} text */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** @param {Record<string, string | string[]> | null | undefined} headers @returns {[string, string][]} */
export function pairs(headers) {
  return Object.entries(headers ?? {}).flatMap(([name, value]) => [value].flat().map((one) => /** @type {[string, string]} */ ([name, one])));
}

/** @param {{body?: string, bodyEncoding?: string}} message @returns {Uint8Array<ArrayBuffer>} */
export function bytesOf({ body = "", bodyEncoding }) {
  return bodyEncoding === "base64" ? Uint8Array.from(atob(body), (one) => one.charCodeAt(0)) : new TextEncoder().encode(body);
}

/** Bytes as people look at them: place, numbers, letters. @param {Uint8Array} bytes */
export function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += ROW) {
    const row = [...bytes.slice(at, at + ROW)];
    const numbers = row.map((one) => one.toString(16).padStart(2, "0")).join(" ");
    const letters = row.map((one) => (one > 31 && one < 127 ? String.fromCharCode(one) : ".")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${numbers.padEnd(ROW * 3 - 1)}  ${letters}`);
  }
  return lines.join("\n");
}

/** A call as lines, to be compared. @param {any} call */
export function linesOf({ method, url, request, response, error }) {
  const message = (one) => [...pairs(one.headers).map(([name, value]) => `${name}: ${value}`), "", ...pretty(one.body ?? "").split("\n")];
  return [`${method} ${url}`, ...message(request), "", ...(response ? [`Answer ${response.statusCode}`, ...message(response)] : [`No answer: ${error}`])];
}

/** Whether anything of it was called. A task that workers claim calls its webhook. @param {any} task */
const wasCalled = ({ targetUrl, attempts, webhook }) => Boolean((targetUrl && attempts?.length) || webhook?.attempts);

const nameOf = ({ kind, number: at }) => `${kind} ${at}`;

/** @param {string} id Of the task. */
export function createCalls(id) {
  const path = `/v1/tasks/${id}/captures`;
  const loader = createLoader((signal) => get(path, { signal }));
  let known = "";
  const shape = () => here().query.get("body") ?? SHAPES[0];
  const press = (change) => () => setQuery(change);

  /** @param {any} message @param {string} label */
  function body(message, label) {
    if (!message.bodyBytes) return html`<p class="fine">No body.</p>`;
    const text = shape() === "hex" ? hex(bytesOf(message)) : shape() === "raw" || message.bodyEncoding ? message.body : pretty(message.body);
    return html`<pre tabindex="0" aria-label=${label}><code>${text}</code></pre>
      <p class="fine">
        ${size(message.bodyBytes)}${message.bodyEncoding && shape() !== "hex" ? ", bytes that are no text, as base64" : ""}${message.truncated?.includes("body") ? "; the beginning is kept" : ""}
        ${copyButton(message.body, label)}
        <button type="button" class="quiet small" aria-label=${`Download ${label}`} @click=${() => saveFile(`${label.toLowerCase().replaceAll(" ", "-")}-${id}`, new Blob([bytesOf(message)]))}>${icon("download")}Download</button>
      </p>`;
  }
  /** @param {any} message @param {string} label */
  const pane = (message, label) => html`<dl class="headers">${pairs(message.headers).map(([name, value]) => html`<div><dt>${name}</dt><dd><code>${value}</code></dd></div>`)}</dl>
    ${message.truncated?.includes("headers") ? html`<p class="fine">Further headers are not kept.</p>` : nothing} ${body(message, label)}`;

  /** @param {any} call @param {any} before */
  const changes = (call, before) => {
    const lines = shortened(differences(linesOf(before), linesOf(call)));
    return html`<details class="diff">
      <summary>What differs from ${nameOf(before)}</summary>
      <pre tabindex="0" aria-label=${`What differs from ${nameOf(before)}`}>${lines.map((line) =>
        line === null ? html`<span>…</span>` : line[0] === "gone" ? html`<del>${`- ${line[1]}`}</del>` : line[0] === "new" ? html`<ins>${`+ ${line[1]}`}</ins>` : html`<span>${`  ${line[1]}`}</span>`,
      )}</pre>
    </details>`;
  };

  /** @param {any[]} captures @param {boolean} isWithheld */
  function one(captures, isWithheld) {
    const wanted = here().query.get("call");
    const call = captures.find((capture) => nameOf(capture) === wanted) ?? captures.at(-1);
    const before = captures.slice(0, captures.indexOf(call)).findLast(({ kind }) => kind === call.kind);
    return html`<p class="chips" role="group" aria-label="Which call">
        ${captures.map((capture) => html`<button type="button" class="chip" aria-pressed=${capture === call} @click=${press({ call: nameOf(capture) })}>${nameOf(capture)}: ${capture.response?.statusCode ?? "no answer"}</button>`)}
      </p>
      <p><code>${call.method} ${call.url}</code> ${time(call.at)}: ${call.response ? html`<strong>${call.response.statusCode}</strong>` : call.error} in ${length(call.duration)}</p>
      ${isWithheld
        ? html`<p>Bodies and headers are not shown to viewers of this team; an owner can change that.</p>`
        : html`<p class="chips" role="group" aria-label="How bodies are shown">${SHAPES.map((name) => html`<button type="button" class="chip" aria-pressed=${shape() === name} @click=${press({ body: name })}>${name}</button>`)}</p>
            <div class="panes">
              <section aria-labelledby="sent-title"><h3 id="sent-title">As it was sent</h3>${pane(call.request, "Body as sent")}</section>
              <section aria-labelledby="answered-title"><h3 id="answered-title">What was answered</h3>${call.response ? pane(call.response, "Body as answered") : html`<p>${call.error}</p>`}</section>
            </div>
            ${before ? changes(call, before) : nothing}`}`;
  }

  return {
    path,
    /** The task was read: if one more call of it has ended, they are read again. @param {any} task */
    read(task) {
      if (!wasCalled(task)) return;
      const ended = (task.attempts ?? []).filter(({ duration, error }) => duration !== null || error !== null).length;
      const now = `${ended} ${task.webhook?.attempts ?? 0} ${task.status}`;
      if (now === known) return;
      known = now;
      void loader.load();
    },
    /** @param {any} task */
    view: (task) =>
      !wasCalled(task)
        ? nothing
        : html`<h2>Calls</h2>
            ${loaded(loader, ({ captures, withheld }) =>
              captures.length > 0
                ? one(captures, Boolean(withheld))
                : empty(
                    "No call is kept",
                    html`<p>Calls are kept for seven days, unless the defaults of the queue say that they are not captured.</p>`,
                  ),
            )}`,
    dispose: loader.dispose,
  };
}
