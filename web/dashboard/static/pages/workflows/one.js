// One workflow: how far it has come, its tasks as a graph and as a table, cancelling what has not ended and doing again what failed.
import {
  counted, createAction, createInventory, go, here, href, html, length, nothing, now, number, repeat, request, rowButton, statusBadge, table, taskEvents, time, whyNot,
} from "../../kit.js";
import { graph, MOST } from "./graph.js";
import { nameOf, progressWords, remark } from "./words.js";

const WRITE = "tasks:write";

/** @param {Record<string, string>} parameters */
export function open({ id }) {
  const path = `/v1/workflows/${encodeURIComponent(id)}`;
  let members = new Set();
  const list = createInventory({
    page: here().path,
    path: () => path,
    idOf: ({ name }) => name,
    rowsOf: ({ workflow }) => workflow.tasks,
    types: [],
    feeds: [taskEvents],
    concerns: ({ taskId }) => members.has(taskId),
    noun: "task",
    loaded({ workflow }) {
      members = new Set(workflow.tasks.map(({ taskId }) => taskId));
      if (workflow.status !== "failed") retry = retryAction();
    },
  });
  const retryAction = () =>
    createAction({
      label: "Retry what failed",
      icon: "rotate-ccw",
      scope: WRITE,
      done: "Retried",
      async act() {
        await request({ method: "POST", path: `${path}/retry` });
        void list.reload();
      },
    });
  let retry = retryAction();
  /** @param {any} workflow */
  const cancel = ({ progress: { pending, processing } }) =>
    list.ask({
      title: `Cancel ${counted(pending + processing, "task")}?`,
      body: html`<p>What waits ends at once. ${processing > 0 ? `${counted(processing, "call")} that ${processing === 1 ? "runs is" : "run are"} cut off; the target may have acted on it. ` : ""}What has completed stays so. This cannot be taken back.</p>`,
      label: "Cancel the workflow",
      shape: "ban",
      scope: WRITE,
      act: () => request({ method: "POST", path: `${path}/cancel` }),
    });
  const isOpen = ({ status }) => status === "pending" || status === "running";

  /** @param {any} workflow */
  const about = ({ description, queue, createdAt, startedAt, completedAt, retries, metadata }) => {
    const line = (words, value) => (value ? html`<div><dt>${words}</dt><dd>${value}</dd></div>` : nothing);
    return html`<dl class="terms">
      ${line("What for", description)} ${line("Queue", html`<a href=${href(`/queues/${queue}`)}>${queue}</a>`)} ${line("Made", time(createdAt))} ${line("Begun", startedAt && time(startedAt))}
      ${line("Ended", completedAt && html`${time(completedAt)}${startedAt ? `, after ${length(Math.max(0, Date.parse(completedAt) - Date.parse(startedAt)))}` : nothing}`)}
      ${line("Retried", retries > 0 && counted(retries, "time"))} ${Object.entries(metadata).map(([name, value]) => line(name, value))}
    </dl>`;
  };

  /** @param {any} task @param {Map<string, string>} statuses */
  const row = (task, statuses) => {
    const { name, taskId, status, runAfter, runAfterMode, startedAt, completedAt } = task;
    return html`<tr data-row=${name}>
      <th scope="row"><a class="row-link" href=${href(`/tasks/${taskId}`)}>${name}</a></th>
      <td>${statusBadge(status)}</td>
      <td class="wide">${runAfterMode === "any" && runAfter.length > 1 ? "any of " : ""}${runAfter.join(", ")}</td>
      <td>${startedAt ? time(startedAt) : nothing}</td>
      <td>${startedAt ? length(Math.max(0, (completedAt ? Date.parse(completedAt) : now()) - Date.parse(startedAt))) : nothing}</td>
      <td class="wide">${remark(task, statuses)}</td>
    </tr>`;
  };

  return {
    title: "Workflow",
    requests: () => [{ method: "GET", path }],
    view: () => list.view((rows, { workflow }) => {
      const statuses = new Map(rows.map(({ name, status }) => [name, status]));
      return html`<h1>Workflow ${nameOf(workflow)}</h1>
        <p><a href=${href("/workflows")}>All workflows</a>, <code>${id}</code></p>
        <p class="sentence">${statusBadge(workflow.status)} ${progressWords(workflow.progress)}</p>
        <p><meter aria-label="Tasks that have ended" min="0" max="100" value=${workflow.progress.percent}></meter> ${workflow.progress.percent} % have ended</p>
        <p class="actions">
          ${isOpen(workflow) ? rowButton("ban", "Cancel", "the workflow", WRITE, () => cancel(workflow)) : nothing} ${workflow.status === "failed" ? retry.view() : nothing}
          ${isOpen(workflow) && whyNot(WRITE) ? html`<span class="fine">${whyNot(WRITE)}</span>` : nothing}
        </p>
        ${retry.problem()} ${about(workflow)}
        <h2>Its tasks</h2>
        ${rows.length <= MOST ? graph(rows, (task) => go(href(`/tasks/${task}`))) : html`<p class="fine">A picture is drawn of ${number(MOST)} tasks at most.</p>`}
        ${table("Tasks of the workflow", ["Task", "Status", "Runs after", "Begun", "Took", "Remarks"], repeat(rows, ({ name }) => name, (task) => row(task, statuses)), ", those that others run after first")}`;
    }),
    dispose: list.dispose,
  };
}
