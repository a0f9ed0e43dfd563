// The hosts that have a rule, and how they do: which rest, why, until when, and what is held back.
import { html, nothing, repeat } from "../../ui/lit.js";
import { activityEvents, taskEvents } from "../../core/live.js";
import { go, href } from "../../core/location.js";
import { icon } from "../../ui/icon.js";
import { empty } from "../../ui/state.js";
import { badge } from "../../ui/status.js";
import { createStillList } from "../../ui/still-list.js";
import { table } from "../../ui/table.js";
import { time } from "../../ui/time.js";
import { number } from "../../ui/words.js";
import { hostOf, ruleWords, STATES } from "./words.js";

const PATH = "/v1/targets";
const COLUMNS = ["Host", "State", "Next try", "Held back", "Failures in a row", "Rule"];

/** @param {string} host */
export const pageOf = (host) => href(`/targets/${encodeURIComponent(host)}`);

export function open() {
  const list = createStillList({
    page: "/targets",
    path: () => PATH,
    idOf: ({ host }) => host,
    rowsOf: ({ targets }) => targets,
    feeds: [taskEvents, activityEvents],
    concerns: ({ type }) => type.startsWith("task.attempt") || type === "task.succeeded" || type === "task.dead" || type.startsWith("target."),
    noun: "host",
    rarer: 3,
    // A host that rests is tried when its pause is over, and no event says so before the attempt has ended.
    loaded({ targets }) {
      const next = targets.map(({ health }) => Date.parse(health?.until ?? "")).filter(Number.isFinite);
      if (next.length > 0) list.soon(Math.max(Date.now(), Math.min(...next)) + 1000);
    },
  });
  const look = (event) => {
    event.preventDefault();
    const host = hostOf(event.currentTarget.elements.host.value);
    if (host) go(pageOf(host));
  };

  /** @param {any} target */
  const row = ({ host, rule, health }) => html`<tr data-row=${host}>
    <th scope="row"><a class="row-link" href=${pageOf(host)}>${host}</a></th>
    <td class="wide">${health ? html`${badge(STATES[health.state])} ${health.reason ?? nothing}` : "not known"}</td>
    <td>${health?.until ? time(health.until) : nothing}</td>
    <td>${health ? number(health.held) : ""}</td>
    <td>${health ? number(health.failuresInARow) : ""}</td>
    <td class="wide">${ruleWords(rule)}</td>
  </tr>`;

  return {
    title: "Targets",
    requests: () => [{ method: "GET", path: PATH }],
    view: () => html`<h1>Targets</h1>
      <p>A host that fails can be left alone by a rule: its tasks wait, and one is tried after each pause until it answers again.</p>
      <form class="filters" role="search" aria-label="Look at a host" @submit=${look}>
        <div class="inputs">
          <label>Host <input name="host" data-search placeholder="api.example.com" autocomplete="off" /></label>
          <button type="submit">${icon("search")}Look at it, or give it a rule</button>
        </div>
      </form>
      ${list.view((rows) =>
        rows.length > 0
          ? table("Hosts with a rule", COLUMNS, repeat(rows, ({ host }) => host, row), ", by name")
          : empty("No host has a rule", html`<p>Without one nothing is held back, and a host that is down uses up the retries of its tasks. Name a host above.</p>`),
      )}`,
    dispose: list.dispose,
  };
}
