// What follows a request for a letter, and the token that such a letter brings.
import { html } from "../../ui/lit.js";
import { dropHash, here } from "../../core/location.js";

/** The token in the fragment of the address, where letters put it so that no server sees it. */
export function tokenOfLetter() {
  const token = new URLSearchParams(here().hash).get("token") ?? "";
  // It is in the form now, and has no place in the history of the browser.
  if (token) dropHash();
  return token;
}

/** @param {unknown} next */
export function onItsWay(next) {
  return html`<div class="empty" role="status">
    <p><strong>If that can be done, a letter is on its way.</strong></p>
    <p>It holds a token. Where Waybill has no mail server (<code>waybill up</code> on your own machine), the letter stands in its log.</p>
    ${next}
  </div>`;
}
