// What went wrong, where it went wrong: the API's sentence, its code, the id of the request, and when it is tried again.
import { html, nothing } from "./lit.js";
import { now } from "../core/clock.js";
import { copyButton } from "./copy.js";
import { length } from "./words.js";

/** @typedef {import("../core/failure.js").Failure} Failure */

/** @param {Failure} failure */
function whenAgain(failure) {
  if (!failure.retryAt) return nothing;
  const left = Math.max(0, failure.retryAt - now());
  return html`<p>${left > 0 ? `Tried again in ${length(Math.ceil(left / 1000) * 1000)}.` : "Trying again."}</p>`;
}

/**
 * @param {Failure | null} failure
 * @param {{retry?: () => void, repeats?: boolean}} [how] `repeats`: it is tried again by itself when the API said so.
 */
export function failurePanel(failure, { retry, repeats = false } = {}) {
  if (!failure) return nothing;
  const limits = failure.violated.length > 0 ? html`<p>Over the limit: ${failure.violated.join(", ")}.</p>` : nothing;
  // Only the sentence is read out at once; a countdown would be read every second.
  return html`<div class="failure">
    <p role="alert"><strong>${failure.message}</strong></p>
    ${limits} ${repeats ? whenAgain(failure) : nothing}
    <p class="fine">
      Code <code>${failure.code}</code>${failure.field ? html`, field <code>${failure.field}</code>` : nothing}${failure.requestId
        ? html`, request <code>${failure.requestId}</code> ${copyButton(failure.requestId, "request id")}`
        : nothing}
    </p>
    ${retry ? html`<button type="button" @click=${retry}>Try again now</button>` : nothing}
  </div>`;
}

/** The sentence beside the field that it is about. @param {Failure | null} failure @param {string} field */
export function fieldError(failure, field) {
  if (!failure?.field || failure.field !== field) return nothing;
  return html`<p class="field-error" id=${`error-${field}`}>${failure.message}</p>`;
}
