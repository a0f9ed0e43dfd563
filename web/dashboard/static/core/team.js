// Which team and environment a page is about: the address says it, else the team that was looked at last.
import { here, href } from "./location.js";
import { session } from "./session.js";
import { lastTeam } from "./settings.js";

/** @typedef {import("./session.js").Team} Team */

/** @returns {Team | null} */
export function currentTeam() {
  const teams = session().me?.teams ?? [];
  const wanted = here().query.get("team") || lastTeam.value;
  return teams.find((team) => team.id === wanted) ?? teams[0] ?? null;
}

/** @returns {"live" | "test"} */
export function environment() {
  return here().query.get("env") === "test" ? "test" : "live";
}

/** The headers by which the API knows them. @returns {Record<string, string>} */
export function teamHeaders() {
  const team = currentTeam();
  return { ...(team ? { "x-team-id": team.id } : {}), ...(environment() === "test" ? { "x-environment": "test" } : {}) };
}

/** The overview of a team. @param {string} id */
export function teamAddress(id) {
  return href("/", { team: id });
}

const OF_ADMINS = ["keys:write", "signing-secret:write"];

/** Whether a role may do what a scope names, as the API decides it. @param {string | undefined} role @param {string} scope */
export function roleMay(role, scope) {
  if (role === "owner" || role === "admin") return true;
  if (role === "member") return !OF_ADMINS.includes(scope);
  return role === "viewer" && scope.endsWith(":read");
}

/** Each may do what those before it may. */
export const ROLES = ["viewer", "member", "admin", "owner"];

/** Why the person may not do it; empty when they may. @param {string} wanted A scope, or the least role. */
export function whyNot(wanted) {
  const role = currentTeam()?.role;
  if (ROLES.includes(wanted)) {
    if (ROLES.indexOf(role ?? "") >= ROLES.indexOf(wanted)) return "";
    return `This takes the role ${wanted}${wanted === "owner" ? "" : " or a higher one"}; you are ${role} here.`;
  }
  if (roleMay(role, wanted)) return "";
  const needed = OF_ADMINS.includes(wanted) ? "admin" : "member";
  return `This takes the role ${needed} or a higher one (${wanted}); you are ${role} here.`;
}
