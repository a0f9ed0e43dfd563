// The schedules: when each is due, in words, what it sends where, whether it is paused, and when it is due next.
import {
  activityEvents, badgeRow, createBulk, createInventory, empty, go, here, href, html, icon, nothing, pausedBadge, readPeople, repeat, setQuery, table,
  taskEvents, time, whyNot, withQuery,
} from "../../kit.js";
import { pauseVerbs } from "../queues/change.js";
import { pauseWords } from "../queues/page.js";
import { exactly, scheduleForm } from "./form.js";
import { runLook, whenWords } from "./words.js";

const PATH = "/v1/schedules";
/** Of each schedule, the latest ones. */
const RUNS = 10;
const COLUMNS = ["Select", "Schedule", "State", "When", "Sends", "Latest", "Next", "Set"];

export function open() {
  const cursor = () => here().query.get("cursor") ?? "";
  const path = () => withQuery(PATH, { cursor: cursor(), runs: RUNS });
  let shown = [""];
  /** Names of all that were shown, by id: one that is gone still has its own. */
  const names = new Map();
  const bulk = createBulk({
    ids: () => shown,
    noun: "schedule",
    scope: "tasks:write",
    page: (id) => `/schedules/${id}`,
    nameOf: (id) => names.get(id) || `…${id.slice(-8)}`,
    verbs: pauseVerbs((id) => `${PATH}/${id}`, "schedule", "No task is made of their later instants. Those that were made go on, and what is due meanwhile is not caught up."),
    done: () => void list.reload(),
  });
  const list = createInventory({
    page: "/schedules",
    path,
    rowsOf: ({ schedules }) => schedules,
    types: [],
    // A run that has ended looks otherwise; with their runs, schedules take more of the API than other lists.
    feeds: [taskEvents, activityEvents],
    concerns: ({ type, ok }) => type.startsWith("schedule.") || ok !== undefined,
    rarer: 3,
    noun: "schedule",
    shortcuts: bulk.shortcuts,
    loaded({ schedules }) {
      shown = schedules.map(({ id }) => id);
      for (const { id, name } of schedules) names.set(id, name);
    },
  });
  void readPeople();
  const add = () => list.fill(scheduleForm({ made: ({ id }) => go(href(`/schedules/${id}`)) }));

  /** @param {any} schedule */
  const row = (schedule) => {
    const { id, name, when, task, pause, nextDueAt, setAt, latestRuns = [] } = schedule;
    const words = whenWords(when);
    return html`<tr data-row=${id}>
      <td>${bulk.box(id)}</td>
      <th scope="row"><a class="row-link" href=${href(`/schedules/${id}`)}>${name || `…${id.slice(-8)}`}</a></th>
      <td class="wide">${pausedBadge(pause !== null)} ${pause ? pauseWords(pause) : nothing}</td>
      <td class="wide">${words} <span class="fine">${exactly(schedule, words)}</span></td>
      <td class="wide"><code>${task?.method ?? "POST"} ${task?.targetUrl ?? "to workers"}</code></td>
      <td>${latestRuns.length > 0 ? badgeRow(latestRuns.map(runLook).reverse()) : "none yet"}</td>
      <td>${nextDueAt ? time(nextDueAt) : pause ? "not while it is paused" : "never again"}</td>
      <td>${time(setAt)}</td>
    </tr>`;
  };
  const barred = whyNot("tasks:write");

  return {
    title: "Schedules",
    requests: () => [{ method: "GET", path: path() }],
    actions: () => (barred ? [] : [["Make a schedule", add, "plus"]]),
    view: () => html`<div class="title">
        <h1>Schedules</h1>
        <button type="button" class="primary" ?disabled=${barred !== ""} @click=${add}>${icon("plus")}Make a schedule</button>
      </div>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      ${bulk.view()}
      ${list.view((rows, { nextCursor }) => {
        if (rows.length === 0 && cursor()) return empty("No further schedule");
        if (rows.length === 0) return empty("No schedule yet", html`<p>A schedule makes tasks by itself: by a cron line, every so often, or once.</p>`);
        return html`${table("Schedules", COLUMNS, repeat(rows, ({ id }) => id, row), ", newest first")}
          ${nextCursor ? html`<p><button type="button" @click=${() => setQuery({ cursor: nextCursor })}>Older</button></p>` : nothing}`;
      })}`,
    dispose: list.dispose,
  };
}
