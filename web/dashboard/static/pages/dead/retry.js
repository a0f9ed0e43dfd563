// Trying a dead letter again, once: the API makes a new task of it, which is followed to its end.
import { countSoon, createAction, get, href, html, nothing, request, signal, statusBadge } from "../../kit.js";
import { followed } from "./causes.js";

/** The dead letters that were tried again on a page. @param {() => void} changed */
export function createRetries(changed) {
  /** The new task of each. @type {{value: Map<string, any>, peek(): Map<string, any>}} */
  const probes = signal(new Map());
  /** @type {Map<string, ReturnType<typeof createAction>>} */
  const actions = new Map();
  const note = (key, probe) => {
    probes.value = new Map(probes.peek()).set(key, probe);
  };

  /** @param {string} key What is tried: a cause, or one dead letter. @param {string} id @param {string} label */
  function action(key, id, label) {
    const known = actions.get(`${key} ${id}`);
    if (known) return known;
    const made = createAction({
      label,
      icon: "rotate-ccw",
      scope: "tasks:write",
      done: "Tried again",
      async act() {
        const { task } = await request({ method: "POST", path: `/v1/dead-letters/${id}/retry` });
        note(key, { id: task.id, status: task.status, ok: task.ok });
        // Its events may have come before the answer; an older answer takes nothing back that they have told since.
        const isOpen = () => typeof probes.peek().get(key)?.ok !== "boolean";
        get(`/v1/tasks/${task.id}?fields=status,ok`).then(({ task: { status, ok } }) => isOpen() && note(key, { id: task.id, status, ok }), () => {});
        countSoon();
        changed();
      },
    });
    actions.set(`${key} ${id}`, made);
    return made;
  }

  return {
    /** @param {any[]} events */
    happened(events) {
      for (const [key, probe] of probes.peek()) {
        const next = followed(probe, events);
        if (next !== probe) note(key, next);
      }
    },
    probe: (key) => probes.value.get(key),
    /** @param {string} key @param {string} id @param {string} label */
    view(key, id, label) {
      const probe = probes.value.get(key);
      const button = action(key, id, label);
      const outcome = probe ? html`<br /><a href=${href(`/tasks/${probe.id}`)}>Tried as …${probe.id.slice(-10)}</a>: ${statusBadge(probe.status, probe.ok)}` : nothing;
      return html`${button.view()} ${button.problem()} ${outcome}`;
    },
  };
}
