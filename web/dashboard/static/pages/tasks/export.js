// All tasks that match, as a file: read page by page like everything else, so it has what the API gives and takes its limits.
import { Failure, failurePanel, get, html, icon, nothing, number, saveFile, signal, withQuery } from "../../kit.js";

/** Tasks in one file: it is put together in the memory of the browser. */
export const MOST = 20_000;
const PAGE = 100;
/** Tries of a page that is refused for now. */
const TRIES = 5;

/** Columns of the table: name, and what of a task it is. @type {[string, (task: any) => unknown][]} */
const COLUMNS = [
  ...["id", "status", "ok", "endReason", "queue", "method", "targetUrl", "retryCount", "maxRetries", "error", "createdAt", "startedAt", "completedAt"].map(
    (name) => /** @type {[string, (task: any) => unknown]} */ ([name, (task) => task[name]]),
  ),
  ["tags", ({ tags }) => tags?.join(" ")],
  ["metadata", ({ metadata }) => (metadata && Object.keys(metadata).length > 0 ? JSON.stringify(metadata) : "")],
];
const FIELDS = COLUMNS.map(([name]) => name).filter((name) => name !== "id").join(",");

/** A cell as RFC 4180 has it. What a spreadsheet would take for a formula is a text. @param {unknown} value */
export function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @param {any[]} tasks */
export function csv(tasks) {
  const lines = [COLUMNS.map(([name]) => name), ...tasks.map((task) => COLUMNS.map(([, of]) => of(task)))];
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

/** @param {any[]} tasks */
export function ndjson(tasks) {
  return tasks.map((task) => `${JSON.stringify(task)}\n`).join("");
}

/** @type {[string, string, (tasks: any[]) => string, string][]} */
const FORMATS = [
  ["CSV", "csv", csv, "text/csv"],
  ["NDJSON", "ndjson", ndjson, "application/x-ndjson"],
];

/** @param {() => Record<string, string>} filters */
export function createExport(filters) {
  /** @type {{value: {count: number, end: string} | null}} */
  const progress = signal(null);
  /** @type {{value: Failure | null}} */
  const failed = signal(null);
  let stop = new AbortController();

  /** One page; a refusal that passes is waited for. @param {string} cursor @param {AbortSignal} signal */
  async function page(cursor, signal) {
    for (let left = TRIES; ; left -= 1) {
      try {
        return await get(withQuery("/v1/tasks", { ...filters(), kind: "all", limit: PAGE, cursor, fields: FIELDS }), { signal });
      } catch (error) {
        if (!(error instanceof Failure) || !error.retryAt || left === 0) throw error;
        const pause = Math.max(500, error.retryAt - Date.now());
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** @param {typeof FORMATS[number]} format */
  async function run([name, ending, write, type]) {
    stop = new AbortController();
    const { signal: own } = stop;
    failed.value = null;
    progress.value = { count: 0, end: "" };
    /** @type {any[]} */
    const tasks = [];
    try {
      for (let cursor = ""; ; ) {
        const { tasks: more, pagination } = await page(cursor, own);
        if (own.aborted) return;
        tasks.push(...more);
        progress.value = { count: tasks.length, end: "" };
        cursor = pagination.nextCursor ?? "";
        if (!cursor || tasks.length >= MOST) {
          saveFile(`tasks.${ending}`, new Blob([write(tasks)], { type }));
          progress.value = { count: tasks.length, end: `${name}: ${number(tasks.length)} tasks are in the file.${cursor ? ` There are more: filter by time for those before ${tasks.at(-1).createdAt}.` : ""}` };
          return;
        }
      }
    } catch (error) {
      if (own.aborted) return;
      if (!(error instanceof Failure)) throw error;
      failed.value = error;
      progress.value = null;
    }
  }
  function cancel() {
    stop.abort();
    progress.value = null;
  }

  return {
    view() {
      const state = progress.value;
      const isBusy = state !== null && state.end === "";
      return html`${FORMATS.map((format) => html`<button type="button" ?disabled=${isBusy} @click=${() => run(format)}>${icon("download")}${format[0]}</button>`)}
        ${isBusy ? html`<span class="fine">${number(state.count)} read</span> <button type="button" class="quiet small" @click=${cancel}>Stop</button>` : nothing}
        ${state?.end ? html`<span class="fine" role="status">${state.end}</span>` : nothing}`;
    },
    problem: () => failurePanel(failed.value),
    dispose: cancel,
  };
}
