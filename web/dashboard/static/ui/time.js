// A time: relative or exact as the person prefers, both on hover.
import { html, nothing } from "./lit.js";
import { now } from "../core/clock.js";
import { times } from "../core/settings.js";
import { exact, relative } from "./words.js";

/** @param {string | null | undefined} iso */
export function time(iso) {
  if (!iso) return nothing;
  const at = Date.parse(iso);
  const text = times.value === "exact" ? exact(at) : relative(at, now());
  return html`<time datetime=${iso} title=${`${exact(at)} here, ${iso} in UTC`}>${text}</time>`;
}
