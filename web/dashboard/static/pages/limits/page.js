// Limits that tasks share: what each allows, what runs and waits under it; pinning, pausing with a reason, and letting go.
import {
  activityEvents, createAction, createInventory, createSort, empty, Failure, field, href, html, icon, nothing, number, pausedBadge, readPeople, request,
  rowButton, send, taskEvents, time, whyNot,
} from "../../kit.js";
import { pauseBody, pauseFields } from "../queues/change.js";
import { pauseWords } from "../queues/page.js";
import { limitsOf, nextEnd, wantedLimits, written } from "../queues/words.js";

const PATH = "/v1/limits";
const WRITE = "queues:write";
/** @type {import("../../ui/sort.js").Column[]} */
const COLUMNS = [
  ["Limit", ({ key }) => key],
  ["State", ({ pause }) => (pause ? "paused" : "active")],
  ["Running", ({ running }) => running],
  ["Waiting", ({ waiting }) => waiting],
  "Allows",
  ["Said by", ({ pinned }) => (pinned ? "here" : "tasks")],
  ["Next start", ({ nextStart }) => nextStart],
  "Actions",
];
const NAMES = ["key", "concurrency", "rate.limit", "rate.per", "rate.burst"];

/** @param {string} key */
const pathOf = (key) => `${PATH}/${encodeURIComponent(key)}`;

/** What stands for the limit as it is; of one that nothing is known of, nothing does. @param {string} key */
async function tagOf(key) {
  try {
    return (await send({ method: "GET", path: pathOf(key) })).headers.get("etag");
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return null;
    throw error;
  }
}

export function open() {
  const sort = createSort(COLUMNS, ({ key }) => key, ", by key");
  /** @type {Map<string, ReturnType<typeof createAction>>} */
  const resumes = new Map();
  const list = createInventory({
    page: "/limits",
    path: () => PATH,
    idOf: ({ key }) => key,
    rowsOf: ({ limits }) => limits,
    types: [],
    feeds: [taskEvents, activityEvents],
    concerns: ({ type }) => type.startsWith("task.") || type.startsWith("limit."),
    noun: "limit",
    rarer: 3,
    loaded({ limits }) {
      for (const { key, pause } of limits) if (!pause) resumes.delete(key);
      const end = nextEnd(limits);
      if (end) list.soon(end + 500);
    },
  });
  void readPeople();

  /** @param {any} [limit] One that there is; else its key is asked for. */
  const set = (limit) => {
    const { concurrency, rate } = limit ?? {};
    // As it is shown now: whoever changes it meanwhile is not overruled unseen.
    const tag = limit ? tagOf(limit.key).catch(() => null) : null;
    list.fill({
      title: limit ? `Set the limit ${limit.key}` : "Set a limit",
      label: "Set it",
      names: NAMES,
      fields: (form) => html`<p>What is set here beats what tasks say, over all queues. With every field empty, what tasks say counts again.</p>
        ${limit ? nothing : field(form, { name: "key", label: "Key", hint: "As tasks name it, such as customer:17" })}
        ${field(form, { name: "concurrency", label: "Attempts at a time", required: false, value: concurrency ?? "" })}
        ${field(form, { name: "rate.limit", label: "Starts", required: false, hint: "Empty: no rate.", value: rate?.limit ?? "" })}
        ${field(form, { name: "rate.per", label: "In", required: false, hint: "1s to 1d, such as 1m.", value: rate ? written(rate.per) : "" })}
        ${field(form, { name: "rate.burst", label: "Made up for at once", required: false, hint: "Unused starts. Empty: 1.", value: rate?.burst ?? "" })}`,
      async send(values) {
        const known = await tag;
        await request({ method: "PUT", path: pathOf(limit?.key ?? values.key.trim()), body: wantedLimits(values), headers: known ? { "if-match": known } : {} });
      },
    });
  };
  const pause = ({ key }) =>
    list.fill({
      title: `Pause the limit ${key}`,
      label: "Pause it",
      names: ["reason", "until"],
      fields: (form) => html`<p>No attempt of a task that names it starts any more, in any queue. What runs goes on; tasks wait, and still end by their deadlines.</p>${pauseFields(form, "limit")}`,
      send: (values) => request({ method: "POST", path: `${pathOf(key)}/pause`, body: pauseBody(values) }),
    });
  const resume = ({ key }) => {
    const known = resumes.get(key);
    if (known) return known;
    const made = createAction({
      label: "Resume",
      icon: "play",
      scope: WRITE,
      done: "Resumed",
      async act() {
        await request({ method: "POST", path: `${pathOf(key)}/resume` });
        void list.reload();
      },
    });
    resumes.set(key, made);
    return made;
  };

  /** @param {any} limit */
  const row = (limit) => html`<tr data-row=${limit.key}>
    <th scope="row"><a class="row-link" href=${href("/activity", { target: limit.key })} title="What was done to it">${limit.key}</a></th>
    <td class="wide">${pausedBadge(limit.pause !== null)} ${limit.pause ? pauseWords(limit.pause) : nothing}</td>
    <td>${number(limit.running)}</td>
    <td>${number(limit.waiting)}</td>
    <td>${limitsOf(limit)}</td>
    <td>${limit.pinned ? "set here" : "its tasks"}</td>
    <td>${limit.nextStart ? time(limit.nextStart) : nothing}</td>
    <td>
      ${rowButton("pencil", "Set", limit.key, WRITE, () => set(limit))}
      ${limit.pause ? html`${resume(limit).view()} ${resume(limit).problem()}` : rowButton("pause", "Pause", limit.key, WRITE, () => pause(limit))}
    </td>
  </tr>`;
  const barred = whyNot(WRITE);

  return {
    title: "Limits",
    requests: () => [{ method: "GET", path: PATH }],
    actions: () => (barred ? [] : [["Set a limit", () => set(), "plus"]]),
    view: () => html`<div class="title">
        <h1>Limits</h1>
        <button type="button" class="primary" ?disabled=${barred !== ""} @click=${() => set()}>${icon("plus")}Set a limit</button>
      </div>
      ${barred ? html`<p class="fine">${barred}</p>` : nothing}
      <p>A task may name limits by key; they hold over all queues. Listed are those that are set or paused, and those of tasks that run or wait to start.</p>
      ${list.view((rows, page) =>
        rows.length > 0
          ? html`${sort.table("Limits", rows, row)}
              ${page.truncated ? html`<p class="fine">There are more than the first 1,000 of each partition, which are shown.</p>` : nothing}`
          : empty("No limit is in use", html`<p>One is there as soon as a task names it in <code>limits</code>, or somebody sets it.</p>`),
      )}`,
    dispose: list.dispose,
  };
}
