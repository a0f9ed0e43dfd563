// Starts the dashboard: takes up the session, and draws the page that the address means whenever something changes.
import { effect, signal, untracked } from "./vendor/signals-core/signals-core.js";
import { html, keyed, render } from "./ui/lit.js";
import { begin, session } from "./core/session.js";
import { here } from "./core/location.js";
import { setShortcuts } from "./core/shortcuts.js";
import { currentTeam, environment } from "./core/team.js";
import { frame } from "./frame/frame.js";
import { pageAt } from "./pages/pages.js";
import { failurePanel } from "./ui/failure.js";

/** @typedef {import("./pages/pages.js").Page} Page */

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
/** @type {{value: {key: string, page: Page} | null, peek(): {key: string, page: Page} | null}} */
const shown = signal(null);
let wanted = "";

/** A file of this version is gone: the server runs another one by now. */
const outdated = {
  title: "A new version",
  view: () => html`<h1>A new version</h1>
    <p>The server was upgraded while this page was open.</p>
    <p><button type="button" @click=${() => window.location.reload()}>Load the new version</button></p>`,
};

/** @param {string} key @param {ReturnType<typeof pageAt>} found */
async function open(key, { load, parameters }) {
  /** @type {Page} */
  let page;
  try {
    const module = await load();
    if (wanted !== key) return;
    page = untracked(() => module.open(parameters));
  } catch (error) {
    console.error(error);
    page = outdated;
  }
  const before = shown.peek();
  before?.page.dispose?.();
  shown.value = { key, page };
  // Whoever reads by ear is told where they are now; the first page is read by the browser itself.
  if (before) document.getElementById("content")?.focus({ preventScroll: true });
  if (before && !here().restored) window.scrollTo(0, 0);
}

// Which page it is.
effect(() => {
  const { phase } = session();
  if (phase === "unknown") return;
  const { path } = here();
  const team = currentTeam();
  const key = [phase, team?.id, team?.role, environment(), path].join(" ");
  if (key === wanted) return;
  wanted = key;
  setShortcuts("This page", []);
  const found = pageAt(path, { signedIn: phase === "in", hasTeam: team !== null });
  untracked(() => void open(key, found));
});

// What stood there until the scripts were loaded.
root.replaceChildren();

// How it looks now.
effect(() => {
  const { phase, failure } = session();
  const current = shown.value;
  if (phase === "unknown" && failure) {
    render(html`<main class="alone"><h1>Waybill</h1>${failurePanel(failure, { retry: begin })}</main>`, root);
  } else if (current) {
    document.title = `${current.page.title} · Waybill`;
    // The page of somebody who has just signed in is on its way: what stood there before is no part of it.
    const isTheirs = current.key.startsWith(`${phase} `);
    const content = isTheirs ? keyed(current.key, current.page.view()) : html`<p class="loading">Loading</p>`;
    render(phase === "in" ? frame(current.page, content) : html`<main class="alone" id="content" tabindex="-1">${content}</main>`, root);
  }
});

void begin();
