// One schedule: when it is due next, what became of its instants, and steering it.
import {
  activityEvents, actorName, badge, createAction, createInventory, createRepeatKey, empty, get, go, here, href, html, length, nothing, number, pausedBadge,
  readPeople, repeat, request, rowButton, send, setQuery, statusBadge, table, taskEvents, time, whyNot, withQuery,
} from "../../kit.js";
import { pauseBody, pauseFields } from "../queues/change.js";
import { pauseWords } from "../queues/page.js";
import { exactly, likeIt, scheduleForm } from "./form.js";
import { catchUpWords, OUTCOMES, OVERLAPS, whenWords } from "./words.js";

const WRITE = "tasks:write";
/** How many instants ahead are shown. */
const AHEAD = 5;
/** What the clocks do to an instant. */
const CLOCKS = { skipped: "this local time is skipped that day: it runs after the gap", repeated: "this local time comes twice that day: the first one counts" };
/** Events of tasks after which its runs may look otherwise. */
const OF_RUNS = ["task.created", "task.succeeded", "task.dead", "task.expired", "task.cancelled"];

/** @param {Record<string, string>} parameters */
export function open({ id }) {
  const path = `/v1/schedules/${id}`;
  const cursor = () => here().query.get("cursor") ?? "";
  const runs = () => withQuery(`${path}/runs`, { cursor: cursor() });
  const next = withQuery(`${path}/next`, { limit: AHEAD });
  const list = createInventory({
    page: here().path,
    path: runs,
    types: [],
    feeds: [taskEvents, activityEvents],
    concerns: ({ type, target }) => (type.startsWith("schedule.") ? target?.id === id : OF_RUNS.includes(type)),
    // Three requests instead of one, for events that are mostly of other tasks.
    rarer: 3,
    noun: "run",
    idOf: (run) => run.runId ?? `${run.outcome} ${run.dueAt}`,
    rowsOf: (data) => data.runs,
    async read(signal, asked) {
      const [answer, ahead, past] = await Promise.all([send({ method: "GET", path, signal }), get(next, { signal }), get(asked, { signal })]);
      const { schedule } = await answer.json();
      return { schedule, tag: answer.headers.get("etag") ?? "", next: ahead.next, ...past };
    },
    loaded({ schedule }) {
      if (!schedule.pause) resume = resumeAction();
      if (schedule.pause?.until) list.soon(Date.parse(schedule.pause.until) + 500);
    },
  });
  void readPeople();

  const resumeAction = () =>
    createAction({
      label: "Resume",
      icon: "play",
      scope: WRITE,
      done: "Resumed",
      async act() {
        await request({ method: "POST", path: `${path}/resume` });
        void list.reload();
      },
    });
  let resume = resumeAction();
  // Pressed again after an answer was lost, it is the same run; after an answer it is another one.
  const repeatKey = createRepeatKey();
  let made = 0;
  const trigger = createAction({
    label: "Run it now",
    icon: "zap",
    scope: WRITE,
    done: "A run was made",
    again: true,
    async act() {
      await request({ method: "POST", path: `${path}/trigger`, headers: { "idempotency-key": repeatKey({ made }) } });
      made += 1;
      void list.reload();
    },
  });
  const pause = () =>
    list.fill({
      title: "Pause the schedule",
      label: "Pause it",
      names: ["reason", "until"],
      fields: (form) => html`<p>No task is made of a later instant. Those that were made go on, and what is due meanwhile is not caught up.</p>${pauseFields(form, "schedule")}`,
      send: (values) => request({ method: "POST", path: `${path}/pause`, body: pauseBody(values) }),
    });
  /** @param {any} schedule */
  const remove = (schedule) =>
    list.ask({
      title: `Delete ${schedule.name || "the schedule"}?`,
      body: html`<p>It makes no task any more, and the list of its runs ends. Tasks that were made go on. This cannot be taken back.</p>`,
      label: "Delete it",
      shape: "trash-2",
      scope: WRITE,
      async act() {
        await request({ method: "DELETE", path });
        go(href("/schedules"));
        return true;
      },
    });

  /** @param {any} schedule @param {string} tag */
  const buttons = (schedule, tag) => {
    const button = (shape, word, act) => rowButton(shape, word, schedule.name || "the schedule", WRITE, act);
    return html`<p class="actions">
        ${trigger.view()} ${schedule.pause ? resume.view() : nothing} ${button("pause", schedule.pause ? "Change the pause" : "Pause", pause)}
        ${button("pencil", "Change", () => list.fill(scheduleForm({ schedule, tag })))}
        ${button("copy", "Duplicate", () => list.fill(scheduleForm({ schedule: likeIt(schedule), made: (made) => go(href(`/schedules/${made.id}`)) })))}
        ${button("trash-2", "Delete", () => remove(schedule))}
      </p>
      ${trigger.problem()} ${resume.problem()}`;
  };

  /** @param {any} schedule */
  const about = (schedule) => {
    const { version, setAt, setBy, from, until, overlap, catchUp, jitter, task } = schedule;
    const line = (name, value) => (value ? html`<div><dt>${name}</dt><dd>${value}</dd></div>` : nothing);
    return html`<dl class="terms">
        ${line("Written", exactly(schedule, ""))} ${line("Not before", from && time(from))} ${line("Not after", until && time(until))}
        ${line("While an earlier run goes on, a run", OVERLAPS.find(([name]) => name === overlap)?.[1] ?? overlap)} ${line("Caught up", catchUpWords(catchUp))} ${line("Spread over", jitter > 0 && length(jitter * 1000))}
        ${line("Version", html`${number(version)}, set ${time(setAt)} by ${actorName(setBy)}`)}
      </dl>
      <details><summary>The task of each run</summary><pre tabindex="0" aria-label="The task of each run"><code>${JSON.stringify(task, null, 2)}</code></pre></details>`;
  };

  /** @param {any[]} all */
  const ahead = (all) =>
    all.length === 0
      ? html`<p>It is never due again.</p>`
      : html`<ol>${all.map(({ dueAt, localTime, clocks }) => html`<li>${time(dueAt)}, ${localTime?.replace("T", " ") ?? nothing} by its clocks${clocks ? html` <span class="flag">${CLOCKS[clocks]}</span>` : nothing}</li>`)}</ol>`;

  /** @param {any} run */
  const row = (run) => html`<tr data-row=${run.runId ?? `${run.outcome} ${run.dueAt}`}>
    <th scope="row">${time(run.dueAt)}${run.to ? html` to ${time(run.to)}` : nothing}</th>
    <td>${badge(OUTCOMES[run.outcome])}${run.count > 1 ? ` ${number(run.count)} instants` : nothing}</td>
    <td>${run.taskId ? html`<a class="row-link" href=${href(`/tasks/${run.taskId}`)}>…${run.taskId.slice(-10)}</a>` : nothing}</td>
    <td>${run.status ? statusBadge(run.status) : nothing}</td>
    <td class="wide">${run.manual ? "Somebody asked for it. " : nothing}${run.refused ?? nothing}</td>
  </tr>`;
  const barred = whyNot(WRITE);

  return {
    title: "Schedule",
    requests: () => [path, next, runs()].map((one) => ({ method: "GET", path: one })),
    actions: () => (barred ? [] : [["Run this schedule now", trigger.press, "zap"], ["Pause this schedule", pause, "pause"]]),
    view: () => list.view((rows, { schedule, tag, next: instants, nextCursor }) => {
      const words = whenWords(schedule.when);
      return html`<h1>Schedule ${schedule.name || `…${id.slice(-8)}`}</h1>
        <p><a href=${href("/schedules")}>All schedules</a>, <code>${id}</code></p>
        <p class="sentence">${pausedBadge(schedule.pause !== null)} ${schedule.pause ? pauseWords(schedule.pause) : html`Due ${words}.`}</p>
        ${buttons(schedule, tag)} ${about(schedule)}
        <h2>Due next</h2>
        ${ahead(instants)}
        <h2>Runs</h2>
        ${rows.length > 0
          ? html`${table("Runs", ["Due", "Outcome", "Task", "Status", "Remarks"], repeat(rows, (run) => run.runId ?? `${run.outcome} ${run.dueAt}`, row), ", latest first")}
              ${nextCursor ? html`<p><button type="button" @click=${() => setQuery({ cursor: nextCursor })}>Earlier runs</button></p>` : nothing}`
          : empty(cursor() ? "No earlier run" : "No run yet", html`<p>Each instant at which it is due is told here, also one of which no task was made.</p>`)}`;
    }),
    dispose: list.dispose,
  };
}
