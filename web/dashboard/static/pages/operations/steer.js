// What people do to an operation that there is: pause, resume, cancel, undo.
import { createAction, html, nothing, now, request } from "../../kit.js";
import { isUndoable } from "./words.js";

/** Verb, label, icon, what is said when it is done. @type {[string, string, string, string][]} */
const VERBS = [
  ["pause", "Pause", "pause", "Paused"],
  ["resume", "Resume", "play", "Resumed"],
  ["cancel", "Cancel the rest", "ban", "Cancelled"],
  ["undo", "Undo", "undo-2", "Being undone"],
];

/** Which of them it can take now. @param {any} operation @param {number} at @returns {string[]} */
export function possible(operation, at) {
  const { state } = operation;
  if (state === "running") return ["pause", "cancel"];
  if (state === "paused") return ["resume", "cancel"];
  return isUndoable(operation, at) ? ["undo"] : [];
}

/** @param {(operation: any, verb: string) => void} changed Told what the API answered. */
export function createSteering(changed) {
  /** @type {Map<string, ReturnType<typeof createAction>>} */
  const actions = new Map();
  return {
    /** @param {any} operation */
    view(operation) {
      const can = possible(operation, now());
      return VERBS.filter(([verb]) => can.includes(verb)).map(([verb, label, icon, done]) => {
        // Paused once more after it was resumed, it is another button.
        const key = [operation.id, verb, operation.pausedAt].join(" ");
        if (!actions.has(key)) {
          const act = () => request({ method: "POST", path: `/v1/operations/${operation.id}/${verb}` }).then((answer) => changed(answer.operation, verb));
          actions.set(key, createAction({ label, icon, scope: "tasks:write", done, danger: verb === "cancel", again: true, act }));
        }
        const action = actions.get(key);
        return html`${action?.view() ?? nothing} ${action?.problem() ?? nothing}`;
      });
    },
  };
}
