// Workers that pull, in words: how each does, and what it said about itself.
import { SHAPES } from "../../ui/status.js";

/** Word, shape and tone of each state. @type {Record<string, [string, string, string]>} */
export const STATES = {
  active: ["active", SHAPES.goes, "good"],
  draining: ["draining", SHAPES.rests, "warn"],
  drained: ["drained", SHAPES.rests, "warn"],
  lost: ["lost", SHAPES.off, "bad"],
};

/** What a state means for its tasks. @param {{state: string, held: number, waiting: boolean}} worker */
export function stateWords({ state, held, waiting }) {
  if (state === "draining") return "It is given nothing more, and keeps what it holds.";
  if (state === "drained") return "It is given nothing more, and holds nothing: it may be stopped.";
  if (state === "lost") return held > 0 ? "Three beats did not come. What it holds comes back when the leases are over." : "Three beats did not come, and it holds nothing.";
  return waiting ? "A claim of it waits for a task." : held > 0 ? "It works." : "No claim of it waits right now.";
}

/** What it runs, and where; empty: it did not say. @param {any} registration */
export function aboutWords(registration) {
  return [registration?.version, registration?.host && `on ${registration.host}`].filter(Boolean).join(" ");
}
