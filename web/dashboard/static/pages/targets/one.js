// One host: how it does, by which rule it is left alone, and changing that.
import {
  activityEvents, badge, counted, createAction, createForm, createInventory, field, here, href, html, nothing, number, readPeople, request, rowButton,
  submitButton, taskEvents, time, whyNot,
} from "../../kit.js";
import { pauseWords } from "../queues/page.js";
import { written } from "../queues/words.js";
import { closeAction, isHeld, openForm, WRITE } from "./steer.js";
import { ruleWords, STATES, wantedRule } from "./words.js";

/** Inputs of the rule: name, label, hint, and what they show of it. @type {[string, string, string, (rule: any) => unknown][]} */
const FIELDS = [
  ["failuresInARow", "Failures in a row", "So many, 1 to 1,000. Empty: they do not count.", ({ failuresInARow }) => failuresInARow],
  ["failureShare.percent", "Failed, in a hundred", "Or such a share of the latest attempts.", ({ failureShare }) => failureShare?.percent],
  ["failureShare.of", "Of the latest", "2 to 64 attempts.", ({ failureShare }) => failureShare?.of],
  ["pause", "First pause", "1s to 1d. Empty: 30s.", ({ pause }) => pause && written(pause)],
  ["maxPause", "Longest pause", "Each failed try doubles it. Empty: 10m.", ({ maxPause }) => maxPause && written(maxPause)],
  ["disableAfter", "Give it up after", "Of nothing but failures, 1h to 30d. Empty: it is tried for ever.", ({ disableAfter }) => disableAfter && written(disableAfter)],
];
const NAMES = FIELDS.map(([name]) => name);

/** @param {Record<string, string>} parameters */
export function open({ host }) {
  const path = `/v1/targets/${encodeURIComponent(host)}/health`;
  const list = createInventory({
    page: here().path,
    path: () => path,
    idOf: (target) => target.host,
    rowsOf: ({ target }) => [target],
    types: [],
    noun: "target",
    feeds: [taskEvents, activityEvents],
    concerns: ({ type, target }) => (type.startsWith("target.") ? target?.id === host : type.startsWith("task.")),
    rarer: 2,
    loaded({ target }, isNew) {
      if (isNew) remove = removal();
      if (!isHeld(target)) close = closing();
      const next = Date.parse(target.health?.until ?? "");
      if (Number.isFinite(next)) list.soon(Math.max(Date.now(), next) + 1000);
    },
  });
  const put = (body) => request({ method: "PUT", path, body }).then(() => list.reload());
  const form = createForm((values) => put(wantedRule(values)));
  const removal = () => createAction({ label: "Remove the rule", icon: "trash-2", scope: WRITE, done: "Removed", act: () => put({}) });
  let remove = removal();
  const closing = () => closeAction(host, () => void list.reload());
  let close = closing();
  const ask = () => list.fill(openForm(host));
  void readPeople();
  const barred = whyNot(WRITE);

  /** @param {any} health @param {any} opened */
  const how = (health, opened) => {
    const { lastFailure, partitions, answered } = health;
    return html`<p class="sentence">${badge(STATES[health.state])} ${opened ? pauseWords(opened) : health.reason ?? (health.failuresInARow ? `${counted(health.failuresInARow, "failure")} in a row.` : "No failure is remembered.")}</p>
      <dl class="terms">
        ${health.since ? html`<div><dt>Fails since</dt><dd>${time(health.since)}</dd></div>` : nothing}
        ${health.until && !opened ? html`<div><dt>Next try</dt><dd>${time(health.until)}</dd></div>` : nothing}
        ${lastFailure ? html`<div><dt>Last failure</dt><dd>${time(lastFailure.at)}: ${lastFailure.status ?? lastFailure.kind.replaceAll("_", " ")}</dd></div>` : nothing}
        ${health.disabled ? html`<div><dt>Given up</dt><dd>It is tried no more until somebody closes it.</dd></div>` : nothing}
        <div><dt>Held back</dt><dd>${counted(health.held, "task")}</dd></div>
      </dl>
      ${answered < partitions ? html`<p class="fine">${number(answered)} of ${counted(partitions, "partition")} answered; what the others know is missing.</p>` : nothing}`;
  };

  return {
    title: `Target ${host}`,
    requests: () => [{ method: "GET", path }],
    actions: () => (barred ? [] : [["Open this host", ask, "ban"], ["Close this host", () => close.press(), "play"]]),
    view: () => html`<h1>Target ${host}</h1>
      <p><a href=${href("/targets")}>All hosts with a rule</a>, <a href=${href("/tasks", { host })}>tasks of this host</a></p>
      ${list.view((_, { target }) => {
        const { rule, health, opened } = target;
        return html`${health ? how(health, opened) : html`<p>${opened ? html`Opened ${pauseWords(opened)}. ` : nothing}No worker says how it does.</p>`}
          <p class="actions">
            ${isHeld(target) ? close.view() : nothing} ${rowButton("ban", opened ? "Change the opening of" : "Open", host, WRITE, ask)}
          </p>
          ${close.problem()}
          <p>Rule: ${ruleWords(rule)}.</p>
          <form @submit=${form.submit}>
            ${form.problem(NAMES)}
            <fieldset ?disabled=${barred !== ""}>
              <legend>Rule</legend>
              <div class="grid">${FIELDS.map(([name, label, hint, of]) => field(form, { name, label, hint, required: false, value: String(of(rule ?? {}) ?? "") }))}</div>
              <p class="actions">${submitButton(form, "Set the rule")} ${rule && !barred ? remove.view() : nothing}</p>
            </fieldset>
            ${barred ? html`<p class="fine">${barred}</p>` : nothing}
          </form>
          ${remove.problem()}`;
      })}`,
    dispose: list.dispose,
  };
}
