// What this installation offers, as everybody may know it: asked for once, and again only after it could not be told.
import { signal } from "../vendor/signals-core/signals-core.js";

/** @typedef {{signIn: {issuers: {name: string, start: string}[], signUp: string, letters: boolean}, sink: string | null}} Meta */

/** Until it is known, and where it is not. @type {Meta} */
const USUAL = { signIn: { issuers: [], signUp: "open", letters: true }, sink: null };
/** @type {{value: Meta | null, peek(): Meta | null}} */
const known = signal(null);
let isAsked = false;

async function read() {
  isAsked = true;
  const answer = await fetch("/v1/meta").then((response) => (response.ok ? response.json() : null), () => null);
  if (answer) known.value = answer.meta;
  else isAsked = false;
}

/** A view that reads it follows it. @returns {Meta} */
export function meta() {
  if (!isAsked) queueMicrotask(() => isAsked || void read());
  return known.value ?? USUAL;
}
