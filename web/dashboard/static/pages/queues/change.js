// What people do to a queue: pause or drain it with a reason and an end, let it go on, limit it, say what its tasks mean by default.
import { createAction, createForm, dialog, field, html, nothing, request, submitButton, whyNot } from "../../kit.js";
import { DEFAULT_FIELDS, shownDefault, wantedSettings, written } from "./words.js";

/** @param {string} name */
export function pathOf(name) {
  return `/v1/queues/${encodeURIComponent(name)}`;
}

/** Why, and until when, as the API wants it. @param {Record<string, string>} values */
export function pauseBody({ reason, until }) {
  return { ...(reason ? { reason } : {}), ...(until ? { until: new Date(until).toISOString() } : {}) };
}

/** @param {ReturnType<typeof createForm>} form @param {string} what What the colleagues see it beside. */
export function pauseFields(form, what) {
  return html`${field(form, { name: "reason", label: "Reason", required: false, hint: `For your colleagues, who see it beside the ${what}.` })}
    ${field(form, { name: "until", label: "Until", type: "datetime-local", required: false, hint: "Your local time. Empty: until somebody resumes it." })}`;
}

/**
 * Pausing several with one reason and end, and letting them go on, for `createBulk`.
 * @param {(id: string) => string} path Of one. @param {string} noun @param {string} words What a pause means.
 * @returns {import("../../ui/bulk.js").Verb[]}
 */
export const pauseVerbs = (path, noun, words) => [
  {
    name: "Pause",
    past: "paused",
    shape: "pause",
    words,
    keep: "Let them go on",
    fields: (form) => pauseFields(form, noun),
    call: (id, values) => ({ method: "POST", path: `${path(id)}/pause`, body: pauseBody(values) }),
  },
  {
    name: "Resume",
    past: "resumed",
    shape: "play",
    words: "Those that are paused go on. To others nothing happens.",
    keep: "Leave them",
    call: (id) => ({ method: "POST", path: `${path(id)}/resume` }),
  },
];

/** A pause, or one after which it is seen when nothing runs any more. @type {Record<"pause" | "drain", [string, string, string]>} */
const PAUSES = {
  pause: ["Pause", "Pause it", "What runs goes on"],
  drain: ["Drain", "Drain it", "What runs goes on, and once that has ended the queue is drained"],
};

/** @param {string} name @param {{close: () => void, done: () => void}} tell @param {"pause" | "drain"} [how] */
export function pauseDialog(name, { close, done }, how = "pause") {
  const [verb, label, then] = PAUSES[how];
  const form = createForm(async (values) => {
    await request({ method: "POST", path: `${pathOf(name)}/${how}`, body: pauseBody(values) });
    close();
    done();
  });
  return {
    view: () =>
      dialog({
        id: `${how}-queue`,
        title: `${verb} the queue ${name}`,
        close,
        body: html`<form @submit=${form.submit}>
          ${form.problem(["reason", "until"])}
          <p>No attempt of it starts any more, on no worker. ${then}; tasks are accepted, wait, and still end by their deadlines.</p>
          ${pauseFields(form, "queue")}
          <p class="actions">${submitButton(form, label)} <button type="button" @click=${close}>Cancel</button></p>
        </form>`,
      }),
  };
}

/** @param {string} name @param {() => void} done */
export function resumeAction(name, done) {
  return createAction({
    label: "Resume",
    icon: "play",
    scope: "queues:write",
    done: "Resumed",
    async act() {
      await request({ method: "POST", path: `${pathOf(name)}/resume` });
      done();
    },
  });
}

/** Inputs of the settings: name, label, hint, and what they show of a queue. @type {[string, string, string, (queue: any) => unknown][]} */
const LIMITS = [
  ["concurrency", "Attempts at a time", "Empty: no limit.", ({ concurrency }) => concurrency],
  ["rate.limit", "Starts", "Empty: no rate.", ({ rate }) => rate?.limit],
  ["rate.per", "In", "1s to 1d, such as 1m.", ({ rate }) => (rate ? written(rate.per) : "")],
  ["rate.burst", "Made up for at once", "Unused starts. Empty: 1.", ({ rate }) => rate?.burst],
  ["weight", "Weight", "Tasks that start in a turn of the queue. Empty: 1.", ({ weight }) => (weight === 1 ? "" : weight)],
];

/** @type {typeof LIMITS} */
const DEFAULTS = DEFAULT_FIELDS.map(([name, label, hint, isLength]) => [`defaults.${name}`, label, hint, ({ defaults }) => shownDefault(defaults?.[name], isLength)]);
const NAMES = [...LIMITS, ...DEFAULTS].map(([name]) => name);

/** @param {string} name @param {() => void} done */
export function settingsForm(name, done) {
  /** The settings as they were shown, and what stands for them. */
  let shown = { queue: null, tag: "" };
  const form = createForm(async (values) => {
    const headers = shown.tag ? { "if-match": shown.tag } : {};
    await request({ method: "PUT", path: pathOf(name), body: wantedSettings(values, shown.queue), headers });
    done();
  });
  const barred = whyNot("queues:write");
  const inputs = (fields) => fields.map(([at, label, hint, of]) => field(form, { name: at, label, hint, required: false, value: String(of(shown.queue) ?? "") }));
  return {
    /** @param {any} queue @param {string} tag `ETag` of its settings. */
    view(queue, tag) {
      shown = { queue, tag };
      return html`<form @submit=${form.submit}>
        ${form.problem(NAMES)}
        <fieldset ?disabled=${barred !== ""}>
          <legend>Limits and weight</legend>
          <div class="grid">${inputs(LIMITS)}</div>
          <details ?open=${Object.keys(queue.defaults ?? {}).length > 0}>
            <summary>Defaults of new tasks</summary>
            <p class="fine">What a task of this queue means where it says nothing. Empty: the platform's default. Lengths such as 30s or 5m.</p>
            <div class="grid">${inputs(DEFAULTS)}</div>
          </details>
          <p class="actions">${submitButton(form, "Set the limits")}</p>
        </fieldset>
        ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      </form>`;
    },
  };
}
