// Making a schedule, or another version of one: a form whose task is JSON, as for a task that is sent at once.
import { createRepeatKey, Failure, field, fieldError, html, nothing, request } from "../../kit.js";
import { written } from "../queues/words.js";
import { INPUTS, NAMES, OVERLAPS, wanted } from "./words.js";

const FIRST = { targetUrl: "https://api.example.com/report", json: { for: "{{run.localTime}}" } };
const DATES = ["from", "until"];

/** @param {string} text */
function taskOf(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Failure({ status: 0, code: "no_json", field: "task", message: `This is no JSON: ${/** @type {Error} */ (error).message}` });
  }
}

/** A date as its input wants it, in local time. @param {string} iso */
function local(iso) {
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What stands in an input. @param {string} name @param {any} schedule */
function shown(name, schedule) {
  const value = schedule?.[name];
  if (!value) return "";
  if (name === "jitter") return written(value);
  return DATES.includes(name) ? local(value) : value;
}

/**
 * @param {import("../../ui/inventory.js").Form} form
 * @param {any} schedule Whose values stand in it.
 */
function fields(form, schedule) {
  const { mode = "last", max, within } = schedule?.catchUp ?? {};
  return html`${INPUTS.map(([name, label, hint]) => field(form, { name, label, hint, type: DATES.includes(name) ? "datetime-local" : "text", required: name === "when", value: shown(name, schedule) }))}
    <div class="field">
      <label for="task">Task</label>
      <textarea id="task" name="task" rows="7" spellcheck="false" required aria-describedby="hint-task" .value=${JSON.stringify(schedule?.task ?? FIRST, null, 2)}></textarea>
      <p class="hint" id="hint-task">What each run sends. {{run.id}}, {{run.dueAt}}, {{run.localTime}} and {{schedule.id}} are filled in.</p>
      ${fieldError(form.failure, "task")}
    </div>
    <div class="field">
      <label for="overlap">A run that is due before an earlier one has ended</label>
      <select id="overlap" name="overlap">
        ${OVERLAPS.map(([value, words]) => html`<option value=${value} .selected=${value === (schedule?.overlap ?? "skip")}>${words}</option>`)}
      </select>
    </div>
    <div class="field">
      <label for="mode">Of instants that are late because nothing ran</label>
      <select id="mode" name="catchUp.mode">
        ${[["last", "the last one runs"], ["none", "none runs"], ["all", "several run"]].map(([value, words]) => html`<option value=${value} .selected=${value === mode}>${words}</option>`)}
      </select>
    </div>
    ${field(form, { name: "catchUp.max", label: "Several: how many at most", required: false, value: max ?? "" })}
    ${field(form, { name: "catchUp.within", label: "Several: not later than", hint: "Such as 6h.", required: false, value: within ? written(within) : "" })}`;
}

/**
 * What `fill` of an inventory takes, to make a schedule or to replace one.
 * @param {object} what
 * @param {any} [what.schedule] Whose values stand in the form.
 * @param {string} [what.tag] It is replaced as it was shown under this tag; without one, another is made.
 * @param {(schedule: any) => void} [what.made]
 */
export function scheduleForm({ schedule, tag, made }) {
  const repeatKey = createRepeatKey();
  return {
    title: tag ? "Change the schedule" : "A new schedule",
    label: tag ? "Change it" : "Make it",
    names: NAMES,
    fields: (form) => fields(form, schedule),
    async send(values) {
      const body = wanted(values, taskOf(values.task));
      const call = tag ? { method: "PUT", path: `/v1/schedules/${schedule.id}`, headers: { "if-match": tag } } : { method: "POST", path: "/v1/schedules", headers: { "idempotency-key": repeatKey(body) } };
      const answer = await request({ ...call, body });
      made?.(answer.schedule);
    },
  };
}

/** What stays of a schedule when another is made like it. @param {any} schedule */
export const likeIt = (schedule) => ({ ...schedule, name: schedule.name ? `${schedule.name} (copy)` : "" });

/** When it is due, as it is written, where the words do not say it already. @param {any} schedule */
export const exactly = ({ when, zone }, words) => html`${words === when ? nothing : html`<code>${when}</code>, `}${zone}`;
