// What stands where there is nothing to show, and how old what is shown is.
import { html, nothing } from "./lit.js";
import { now } from "../core/clock.js";
import { failurePanel } from "./failure.js";
import { length } from "./words.js";

/** @param {string} title @param {unknown} [next] The next step. */
export function empty(title, next = nothing) {
  return html`<div class="empty"><p><strong>${title}</strong></p>${next}</div>`;
}

/**
 * What a loader has: its content, dimmed while it is out of date, with what went wrong above it.
 * @param {{state: import("../core/loader.js").Loaded, load: () => void}} loader
 * @param {(data: any) => unknown} content
 * @param {string[]} [beside] Fields beside which the page itself says what is wrong with them.
 */
export function loaded(loader, content, beside = []) {
  const { data, failure, at, loading } = loader.state;
  const age = failure && data ? html`<p class="fine">What follows is ${length(Math.max(1000, now() - at))} old.</p>` : nothing;
  return html`
    ${failure?.field && beside.includes(failure.field) ? nothing : failurePanel(failure, { retry: loader.load, repeats: true })} ${age}
    ${data ? html`<div class=${failure ? "dimmed" : ""} aria-busy=${loading ? "true" : "false"}>${content(data)}</div>` : nothing}
    ${!data && !failure ? html`<p class="loading">Loading</p>` : nothing}
  `;
}
