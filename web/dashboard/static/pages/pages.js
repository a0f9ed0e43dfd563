// Which page an address means. A page is loaded when it is first opened.
import { SIGNED_IN } from "../core/session.js";

/**
 * @typedef {object} Page
 * @property {string} title
 * @property {() => unknown} view Reads signals, so that it is drawn again when they change.
 * @property {() => import("../core/api.js").Call[]} [requests] The requests that made it, for "As curl".
 * @property {() => import("../frame/palette.js").Entry[]} [actions] What can be done on it, for the palette.
 * @property {() => void} [dispose]
 */

/** @typedef {{open: (parameters: Record<string, string>) => Page}} PageModule */

/** Pages of the team. @type {[string, () => Promise<PageModule>][]} */
const OF_TEAM = [
  ["/", () => import("./overview/page.js")],
  ["/tasks", () => import("./tasks/page.js")],
  ["/tasks/new", () => import("./composer/page.js")],
  ["/tasks/:id", () => import("./task/page.js")],
  ["/tasks/:id/replay", () => import("./composer/page.js")],
  ["/queues", () => import("./queues/page.js")],
  ["/queues/:name", () => import("./queues/one.js")],
  ["/schedules", () => import("./schedules/page.js")],
  ["/schedules/:id", () => import("./schedules/one.js")],
  ["/workers", () => import("./workers/page.js")],
  ["/workers/:name", () => import("./workers/one.js")],
  ["/workflows", () => import("./workflows/page.js")],
  ["/workflows/:id", () => import("./workflows/one.js")],
  ["/limits", () => import("./limits/page.js")],
  ["/targets", () => import("./targets/page.js")],
  ["/targets/:host", () => import("./targets/one.js")],
  ["/operations", () => import("./operations/page.js")],
  ["/operations/new", () => import("./operations/begin.js")],
  ["/operations/:id", () => import("./operations/one.js")],
  ["/dead-letters", () => import("./dead/page.js")],
  ["/dead-letters/list", () => import("./dead/list.js")],
  ["/events", () => import("./events/page.js")],
  ["/activity", () => import("./activity/page.js")],
  ["/keys", () => import("./keys/page.js")],
  ["/keys/:id", () => import("./keys/one.js")],
  ["/vault", () => import("./vault/page.js")],
  ["/vault/:id", () => import("./vault/one.js")],
  ["/apps", () => import("./apps/page.js")],
  ["/webhooks", () => import("./webhooks/page.js")],
  ["/usage", () => import("./usage/page.js")],
  ["/system", () => import("./system/page.js")],
  ["/team", () => import("./team/people.js")],
];

/** A page of the account, by its name. @param {"entry" | "signUp" | "confirm" | "forgot" | "reset" | "join" | "link" | "address" | "signedIn"} name */
const account = (name) => () => import("./account/account.js").then((all) => ({ open: all[name] }));

/** Pages for whoever is signed in, with a team or without. @type {[string, () => Promise<PageModule>][]} */
const OF_PERSON = [
  ["/teams/new", () => import("./team/page.js")],
  ["/join", account("join")],
  ["/address", account("address")],
  ["/device", () => import("./device/page.js")],
  [SIGNED_IN, account("signedIn")],
];

/** Pages for everybody: the links of letters lead to them. @type {[string, () => Promise<PageModule>][]} */
const OF_ALL = [
  ["/sign-up", account("signUp")],
  ["/confirm", account("confirm")],
  ["/forgot", account("forgot")],
  ["/reset", account("reset")],
  ["/link", account("link")],
];

/** @param {string} pattern @param {string} path @returns {Record<string, string> | null} */
export function match(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.replace(/(.)\/$/, "$1").split("/");
  if (wanted.length !== given.length) return null;
  /** @type {Record<string, string>} */
  const parameters = {};
  for (const [n, part] of wanted.entries()) {
    if (part.startsWith(":") && given[n]) parameters[part.slice(1)] = decodeURIComponent(given[n]);
    else if (part !== given[n]) return null;
  }
  return parameters;
}

/** @param {[string, () => Promise<PageModule>][]} pages @param {string} path */
function find(pages, path) {
  for (const [pattern, load] of pages) {
    const parameters = match(pattern, path);
    if (parameters) return { load, parameters };
  }
  return null;
}

/**
 * The page to show, given who is signed in.
 * @param {string} path
 * @param {{signedIn: boolean, hasTeam: boolean}} who
 * @returns {{load: () => Promise<PageModule>, parameters: Record<string, string>}}
 */
export function pageAt(path, { signedIn, hasTeam }) {
  const open = find(OF_ALL, path);
  if (open) return open;
  if (!signedIn) return { load: account("entry"), parameters: {} };
  const own = find(OF_PERSON, path);
  if (own) return own;
  if (!hasTeam) return { load: () => import("./team/page.js"), parameters: {} };
  return find(OF_TEAM, path) ?? { load: () => import("./missing.js"), parameters: { path } };
}
