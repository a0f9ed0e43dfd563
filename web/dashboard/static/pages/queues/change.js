// What people do to a queue: pause it with a reason and an end, let it go on, limit it.
import { html, nothing } from "../../ui/lit.js";
import { request } from "../../core/api.js";
import { whyNot } from "../../core/team.js";
import { createAction } from "../../ui/action.js";
import { dialog } from "../../ui/dialog.js";
import { createForm, field, submitButton } from "../../ui/form.js";
import { wantedLimits, written } from "./words.js";

/** @param {string} name */
export function pathOf(name) {
  return `/v1/queues/${encodeURIComponent(name)}`;
}

/** @param {string} name @param {{close: () => void, done: () => void}} tell */
export function pauseDialog(name, { close, done }) {
  const form = createForm(async ({ reason, until }) => {
    const body = { ...(reason ? { reason } : {}), ...(until ? { until: new Date(until).toISOString() } : {}) };
    await request({ method: "POST", path: `${pathOf(name)}/pause`, body });
    close();
    done();
  });
  return {
    view: () =>
      dialog({
        id: "pause-queue",
        title: `Pause the queue ${name}`,
        close,
        body: html`<form @submit=${form.submit}>
          ${form.problem(["reason", "until"])}
          <p>No attempt of it starts any more, on no worker. What runs goes on; tasks are accepted, wait, and still end by their deadlines.</p>
          ${field(form, { name: "reason", label: "Reason", required: false, hint: "For your colleagues, who see it beside the queue." })}
          ${field(form, { name: "until", label: "Until", type: "datetime-local", required: false, hint: "Your local time. Empty: until somebody resumes it." })}
          <p class="actions">${submitButton(form, "Pause it")} <button type="button" @click=${close}>Cancel</button></p>
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

const FIELDS = ["concurrency", "rate.limit", "rate.per", "rate.burst"];

/** @param {string} name @param {() => void} done */
export function limitForm(name, done) {
  const form = createForm(async (values) => {
    await request({ method: "PUT", path: pathOf(name), body: wantedLimits(values) });
    done();
  });
  const barred = whyNot("queues:write");
  return {
    /** @param {any} queue */
    view({ concurrency, rate }) {
      const input = (at, label, value, hint) => field(form, { name: FIELDS[at], label, hint, required: false, value: value === undefined ? "" : String(value) });
      return html`<form @submit=${form.submit}>
        ${form.problem(FIELDS)}
        <fieldset ?disabled=${barred !== ""}>
          <legend>Limits</legend>
          <div class="grid">
            ${input(0, "Attempts at a time", concurrency ?? "", "Empty: no limit.")} ${input(1, "Starts", rate?.limit ?? "", "Empty: no rate.")}
            ${input(2, "In", rate ? written(rate.per) : "", "1s to 1d, such as 1m.")} ${input(3, "Made up for at once", rate?.burst ?? "", "Unused starts. Empty: 1.")}
          </div>
          <p class="actions">${submitButton(form, "Set the limits")}</p>
        </fieldset>
        ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      </form>`;
    },
  };
}
