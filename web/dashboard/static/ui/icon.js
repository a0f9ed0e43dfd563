// Icons of Lucide. One is never alone: words stand beside it, and say the same.
import { html } from "./lit.js";

const SPRITE = new URL("../vendor/lucide/icons.svg", import.meta.url).pathname;

/** @param {string} name One of those that vendor.json names. */
export function icon(name) {
  return html`<svg class="icon" width="16" height="16" aria-hidden="true"><use href=${`${SPRITE}#${name}`}></use></svg>`;
}
