// How many dead letters there are, for the menu: read when a page is opened, and again when a task has failed.
import { effect, signal, untracked } from "../vendor/signals-core/signals-core.js";
import { get } from "./api.js";
import { taskEvents } from "./live.js";
import { pace } from "./pace.js";
import { session } from "./session.js";
import { currentTeam, environment } from "./team.js";

/** For this the API looks at failed tasks one by one: so many times rarer than a list is it asked. */
const RARER = 5;

export const deadLetters = signal({ count: 0, isAll: true });
let timer = 0;
let of = "";

async function read() {
  timer = 0;
  const asked = of;
  const found = asked ? await get("/v1/dead-letters/groups?limit=1").catch(() => null) : null;
  if (found && asked === of) deadLetters.value = { count: found.total, isAll: found.searched.complete };
}

/** Reads it again before long: a task has failed, or a dead letter was tried again from here. */
export function countSoon() {
  timer ||= setTimeout(read, RARER * pace());
}

effect(() => {
  const team = session().phase === "in" ? currentTeam()?.id : "";
  const next = team ? `${team} ${environment()}` : "";
  if (next === of) return;
  of = next;
  untracked(() => {
    deadLetters.value = { count: 0, isAll: true };
    void read();
  });
});
taskEvents.subscribe({ events: (events) => events.some(({ ok }) => ok === false) && countSoon(), resync: countSoon });
