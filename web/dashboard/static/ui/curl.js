// "As curl": the very requests that made a page. The credential is never part of them.
import { html, nothing } from "./lit.js";
import { icon } from "./icon.js";
import { copyButton } from "./copy.js";
import { currentTeam, environment } from "../core/team.js";

/** A text as one word of a shell. @param {string} text */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** @param {import("../core/api.js").Call} call @param {string} origin */
export function curlLine({ method, path, body, headers = {} }, origin) {
  const words = ["curl", "-sS"];
  if (method !== "GET") words.push("-X", method);
  words.push(quoted(origin + path), "-H", '"Authorization: Bearer $WAYBILL_KEY"');
  for (const [name, value] of Object.entries(headers)) words.push("-H", quoted(`${name}: ${value}`));
  if (body !== undefined) words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(body)));
  return words.join(" ");
}

/** @param {import("../core/api.js").Call[]} calls */
export function asCurl(calls) {
  if (calls.length === 0) return nothing;
  const lines = calls.map((call) => curlLine(call, window.location.origin)).join("\n");
  const team = currentTeam();
  return html`<details class="curl">
    <summary>${icon("terminal")}As curl</summary>
    <pre tabindex="0" aria-label="Requests of this page"><code>${lines}</code></pre>
    ${copyButton(lines, "curl")}
    <p class="fine">
      <code>$WAYBILL_KEY</code> is an API key of ${team?.name ?? "the team"}, environment ${environment()}. Where a page needs a person, it is an access token.
    </p>
  </details>`;
}
