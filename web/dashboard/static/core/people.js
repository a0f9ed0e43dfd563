// The names of people and keys that the API tells by their ids.
import { signal } from "../vendor/signals-core/signals-core.js";
import { get } from "./api.js";
import { currentTeam } from "./team.js";

/** @type {{value: {team: string, names: Map<string, string>}, peek(): {team: string}}} */
const known = signal({ team: "", names: new Map() });

/** Reads who is in the team. Where that fails, ids stay ids. */
export async function readPeople() {
  const team = currentTeam()?.id ?? "";
  if (!team || known.peek().team === team) return;
  known.value = { team, names: new Map() };
  const { members } = await get(`/teams/${team}/members`).catch(() => ({ members: [] }));
  known.value = { team, names: new Map(members.map((member) => [`user:${member.id}`, member.name ?? member.email])) };
}

/** Who it was: a name where it is known, else the end of the id, which is what differs. @param {string | null} actor */
export function actorName(actor) {
  if (!actor) return "unknown";
  const name = known.value.names.get(actor);
  if (name) return name;
  const [kind, id = ""] = actor.split(":");
  return id.length > 16 ? `${kind} …${id.slice(-6)}` : id || kind;
}
