// The address is the state: what a page shows can be linked, and the back button brings it back.
import { signal } from "../vendor/signals-core/signals-core.js";

const BASE = "/ui";
/** Parameters that every address keeps: which team, and which of its environments. */
const KEPT = ["team", "env"];

/** @typedef {{path: string, query: URLSearchParams, hash: string, state: any, restored: boolean}} Place */

/** @returns {Place} */
function read(restored) {
  const { pathname, search, hash } = window.location;
  const path = pathname.startsWith(BASE) ? pathname.slice(BASE.length) || "/" : "/";
  return { path, query: new URLSearchParams(search), hash: hash.slice(1), state: history.state?.page ?? null, restored };
}

const place = signal(read(false));
/** Where the reader was on each entry of the history: scroll and focused row. @type {Map<string, {scroll: number, row?: string}>} */
const left = new Map();
let entry = history.state?.entry ?? "first";
if (!history.state?.entry) history.replaceState({ ...history.state, entry }, "");
// Pages fill themselves after their address is known, so the browser would scroll too early.
history.scrollRestoration = "manual";

/** The place now; a view that reads it follows it. @returns {Place} */
export function here() {
  return place.value;
}

/** The address of a page, with the parameters that every address keeps. @param {string} path @param {Record<string, string | undefined>} [query] */
export function href(path, query = {}) {
  const all = new URLSearchParams();
  const given = place.value.query;
  for (const name of KEPT) {
    const value = name in query ? query[name] : given.get(name);
    if (value) all.set(name, value);
  }
  for (const [name, value] of Object.entries(query)) {
    if (!KEPT.includes(name) && value !== undefined && value !== "") all.set(name, value);
  }
  const text = all.toString();
  return `${BASE}${path}${text ? `?${text}` : ""}`;
}

/** Goes to an address of the dashboard. @param {string} address @param {{replace?: boolean, state?: any}} [how] */
export function go(address, { replace = false, state = null } = {}) {
  remember();
  if (!replace) entry = `${Date.now()}.${Math.random()}`;
  history[replace ? "replaceState" : "pushState"]({ entry, page: state }, "", address);
  place.value = read(false);
}

/** Changes parameters of the present address; an empty value takes one out. @param {Record<string, string | undefined>} changes @param {{replace?: boolean}} [how] */
export function setQuery(changes, how = {}) {
  const query = Object.fromEntries(place.peek().query);
  go(href(place.peek().path, { ...query, ...changes }), how);
}

/** Takes the fragment out of the address, which may hold a token. */
export function dropHash() {
  history.replaceState(history.state, "", window.location.pathname + window.location.search);
  place.value = { ...place.peek(), hash: "" };
}

function remember() {
  const row = document.activeElement?.closest("[data-row]");
  left.set(entry, { scroll: window.scrollY, row: row instanceof HTMLElement ? row.dataset.row : undefined });
}

/** Once a page shows what it showed before: back to where the reader was. */
export function restore() {
  const was = left.get(entry);
  if (!place.peek().restored || !was) return;
  place.value = { ...place.peek(), restored: false };
  window.scrollTo(0, was.scroll);
  if (was.row) {
    const row = document.querySelector(`[data-row="${CSS.escape(was.row)}"] a`);
    if (row instanceof HTMLElement) row.focus({ preventScroll: true });
  }
}

window.addEventListener("popstate", () => {
  remember();
  entry = history.state?.entry ?? "first";
  place.value = read(true);
});

// Links within the dashboard change the page without loading the document again.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  const isOurs = url.origin === window.location.origin && url.pathname.startsWith(`${BASE}/`);
  if (!isOurs || (url.hash && url.pathname === window.location.pathname)) return;
  event.preventDefault();
  go(url.pathname + url.search + url.hash);
});
