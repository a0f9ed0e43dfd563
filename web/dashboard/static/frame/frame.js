// What surrounds every page: where one is, which team it is about, whether it is live, who is signed in.
import { html, nothing } from "../ui/lit.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { deadLetters } from "../core/dead.js";
import { go, here, href } from "../core/location.js";
import { paused, togglePause } from "../core/live.js";
import { session, signOut } from "../core/session.js";
import { setTheme, theme } from "../core/settings.js";
import { setShortcuts } from "../core/shortcuts.js";
import { currentTeam, environment } from "../core/team.js";
import { icon } from "../ui/icon.js";
import { asCurl } from "../ui/curl.js";
import { number } from "../ui/words.js";
import { helpDialog } from "./help.js";
import { liveDot } from "./live-dot.js";
import { createPalette } from "./palette.js";
import { teamSwitch } from "./team-switch.js";

/** Name, path, second key of `g` and icon for each page in the menu. @type {[string, string, string, string][]} */
export const MENU = [
  ["Overview", "/", "o", "gauge"],
  ["Tasks", "/tasks", "t", "list-todo"],
  ["New task", "/tasks/new", "n", "plus"],
  ["Queues", "/queues", "q", "layers"],
  ["Workflows", "/workflows", "f", "workflow"],
  ["Workers", "/workers", "r", "hammer"],
  ["Limits", "/limits", "l", "timer"],
  ["Targets", "/targets", "h", "target"],
  ["Dead letters", "/dead-letters", "d", "mail-x"],
  ["Schedules", "/schedules", "c", "calendar-clock"],
  ["Operations", "/operations", "b", "list-checks"],
  ["Events", "/events", "e", "radio"],
  ["Activity", "/activity", "a", "activity"],
  ["Keys", "/keys", "k", "key-round"],
  ["Vault", "/vault", "v", "vault"],
  ["Webhooks", "/webhooks", "w", "webhook"],
  ["Apps", "/apps", "p", "app-window"],
  ["Team", "/team", "m", "users"],
  ["Usage", "/usage", "u", "chart-column"],
  ["System", "/system", "s", "server"],
];

/** The palette while it is open. @type {{value: {view: () => unknown} | null, peek(): unknown}} */
const palette = signal(null);

/** The page that is shown, whose own actions the palette has first. @type {import("../pages/pages.js").Page | null} */
let shown = null;

function openPalette() {
  /** @type {import("./palette.js").Entry[]} */
  const actions = [
    [paused.peek() ? "Go on with live events" : "Pause live events", togglePause, paused.peek() ? "play" : "pause"],
    ["Help and settings", () => (helpIsOpen.value = true), "circle-help"],
    ["Look at the other environment", () => go(href("/", { env: environment() === "test" ? undefined : "test" })), "rotate-ccw"],
    ["Switch to the other theme", () => setTheme(isDark() ? "light" : "dark"), "circle"],
    ["Sign out", signOut, "log-out"],
  ];
  const pages = MENU.map(([name, path, , shape]) => /** @type {import("./palette.js").Entry} */ ([`Go to ${name}`, () => go(href(path)), shape]));
  palette.value = createPalette([...(shown?.actions?.() ?? []), ...pages, ...actions], () => (palette.value = null));
}

// With a key beside it, so that it works while somebody types, and whatever the setting says.
document.addEventListener("keydown", (event) => {
  if (event.key !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || session().phase !== "in") return;
  event.preventDefault();
  if (palette.peek()) palette.value = null;
  else if (!document.querySelector("dialog[open]")) openPalette();
});

function isDark() {
  return theme.peek() === "dark" || (theme.peek() === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
}

const helpIsOpen = signal(false);
const closeHelp = () => {
  helpIsOpen.value = false;
};

function focusSearch() {
  const field = document.querySelector("[data-search]");
  if (field instanceof HTMLElement) field.focus();
}

setShortcuts("Everywhere", [
  { keys: "?", what: "Help and settings", act: () => (helpIsOpen.value = true) },
  ...MENU.map(([name, path, key]) => ({ keys: `g ${key}`, what: `Go to ${name}`, act: () => go(href(path)) })),
  { keys: "Ctrl K", what: "Go to a page, do something, find an id", act: openPalette },
  { keys: "/", what: "Search or filter", act: focusSearch },
  { keys: "p", what: "Pause or go on with live events", act: togglePause },
]);

/** @param {string} path */
function isCurrent(path) {
  const at = here().path;
  return at === path || (path !== "/" && at.startsWith(`${path}/`) && at !== "/tasks/new");
}

/** How many are dead; nothing when none is. */
function badge() {
  const { count, isAll } = deadLetters.value;
  return count > 0 ? html` <span class="badge">${isAll ? "" : "at least "}${number(count)}</span>` : nothing;
}

function account() {
  const me = session().me;
  if (!me) return nothing;
  return html`<div class="account">
    <span class="who" title=${me.user.email}>${me.user.name}</span>
    <button type="button" class="quiet" @click=${signOut}>${icon("log-out")}Sign out</button>
  </div>`;
}

/**
 * @param {import("../pages/pages.js").Page} page
 * @param {unknown} content
 */
export function frame(page, content) {
  const team = currentTeam();
  shown = page;
  return html`
    <a class="skip" href="#content">Skip to the content</a>
    <header class=${environment() === "test" ? "top test" : "top"}>
      <a class="brand" href=${href("/")}>Waybill</a>
      ${teamSwitch()} ${team ? liveDot() : nothing}
      <button type="button" class="quiet" title="Ctrl K" @click=${openPalette}>${icon("search")}Go to</button>
      <button type="button" class="quiet" aria-label="Help and settings" @click=${() => (helpIsOpen.value = true)}>${icon("circle-help")}Help</button>
      ${account()}
    </header>
    <div class="body">
      ${team
        ? html`<nav aria-label="Pages">
            <ul>
              ${MENU.map(
                ([name, path, , shape]) => html`<li><a href=${href(path)} aria-current=${isCurrent(path) ? "page" : nothing}>${icon(shape)}${name}${path === "/dead-letters" ? badge() : nothing}</a></li>`,
              )}
            </ul>
          </nav>`
        : nothing}
      <main id="content" tabindex="-1">
        ${environment() === "test" && team ? html`<p class="environment">Test environment: tasks of live are not shown here.</p>` : nothing}
        ${content} ${asCurl(page.requests?.() ?? [])}
      </main>
    </div>
    ${helpIsOpen.value ? helpDialog(closeHelp) : nothing} ${palette.value?.view() ?? nothing}
  `;
}
