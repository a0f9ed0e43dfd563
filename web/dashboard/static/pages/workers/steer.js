// What people do to a worker: drain it with a reason and an end, give it tasks again, take it off the list.
import { createAction, html, request, rowButton } from "../../kit.js";
import { pauseBody, pauseFields } from "../queues/change.js";

const DRAIN = "queues:write";
const FORGET = "jobs:write";

/** @param {string} name */
export const pathOf = (name) => `/v1/workers/${encodeURIComponent(name)}`;

/**
 * @param {() => ReturnType<typeof import("../../ui/inventory.js").createInventory>} list Whose dialogs ask, and which is read again.
 * @param {() => boolean | void} forgotten What follows once a worker is off the list; `true`: the page is left.
 */
export function createSteering(list, forgotten = () => {}) {
  /** @type {Map<string, ReturnType<typeof createAction>>} */
  const resumes = new Map();

  /** @param {string} name */
  const drain = (name) =>
    list().fill({
      title: `Drain the worker ${name}`,
      label: "Drain it",
      names: ["reason", "until"],
      fields: (form) => html`<p>No gateway gives it anything more. What it holds it keeps, and it hears of the drain with its next claim, heartbeat or beat. That is about the name: it outlives the process.</p>${pauseFields(form, "worker")}`,
      send: (values) => request({ method: "POST", path: `${pathOf(name)}/drain`, body: pauseBody(values) }),
    });
  /** @param {string} name */
  function resume(name) {
    const known = resumes.get(name);
    if (known) return known;
    const made = createAction({
      label: "Resume",
      icon: "play",
      scope: DRAIN,
      done: "Resumed",
      async act() {
        await request({ method: "POST", path: `${pathOf(name)}/resume` });
        void list().reload();
      },
    });
    resumes.set(name, made);
    return made;
  }
  /** @param {any} worker */
  const forget = ({ name, held }) =>
    list().ask({
      title: `Take ${name} off the list?`,
      body: html`<p>${held > 0 ? "What it holds stays its own until the leases are over, and it is listed until then. " : ""}A drain of the name stays in force, and with its next claim it is listed again.</p>`,
      label: "Deregister it",
      shape: "x",
      scope: FORGET,
      async act() {
        await request({ method: "DELETE", path: pathOf(name) });
        return forgotten() === true;
      },
    });

  return {
    drain,
    /** What was resumed may be drained and resumed again. @param {any[]} workers */
    seen(workers) {
      for (const { name, drain: drained } of workers) if (!drained) resumes.delete(name);
    },
    /** @param {any} worker */
    view: (worker) => html`${worker.drain ? html`${resume(worker.name).view()} ${resume(worker.name).problem()}` : rowButton("pause", "Drain", worker.name, DRAIN, () => drain(worker.name))}
      ${rowButton("x", "Deregister", worker.name, FORGET, () => forget(worker))}`,
  };
}
