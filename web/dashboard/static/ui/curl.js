// "As curl", in Python or TypeScript: the very requests that made a page. The credential is never part of them.
import { html, nothing } from "./lit.js";
import { icon } from "./icon.js";
import { copyButton } from "./copy.js";
import { codeIn } from "../core/settings.js";
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

/** A value as Python writes it. @param {any} value @returns {string} */
function pythonValue(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const members = Object.entries(value).filter(([, one]) => one !== undefined);
  return `{${members.map(([name, one]) => `${JSON.stringify(name)}: ${pythonValue(one)}`).join(", ")}}`;
}

/** With nothing but Python itself. @param {import("../core/api.js").Call[]} calls @param {string} origin */
export function pythonLines(calls, origin) {
  const one = ({ method, path, body, headers = {} }) => {
    const all = { ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
    const given = Object.entries(all).map(([name, value]) => `, ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
    const data = body === undefined ? "" : `, data=json.dumps(${pythonValue(body)}).encode()`;
    return `request = Request(${JSON.stringify(origin + path)}, method="${method}", headers={"Authorization": f"Bearer {key}"${given.join("")}}${data})\nprint(urlopen(request).read().decode())`;
  };
  const uses = calls.some(({ body }) => body !== undefined) ? "import json\n" : "";
  return `${uses}import os\nfrom urllib.request import Request, urlopen\n\nkey = os.environ["WAYBILL_KEY"]\n${calls.map(one).join("\n")}`;
}

/** @param {import("../core/api.js").Call[]} calls @param {string} origin */
export function typescriptLines(calls, origin) {
  const one = ({ method, path, body, headers = {} }) => {
    const all = { ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
    const given = Object.entries(all).map(([name, value]) => `, ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
    const rest = body === undefined ? "" : `, body: JSON.stringify(${JSON.stringify(body)})`;
    return `console.log(await (await fetch(${JSON.stringify(origin + path)}, { method: "${method}", headers: { Authorization: \`Bearer \${key}\`${given.join("")} }${rest} })).text());`;
  };
  return `const key = process.env.WAYBILL_KEY;\n${calls.map(one).join("\n")}`;
}

/** @type {Record<string, (calls: import("../core/api.js").Call[], origin: string) => string>} */
const LANGUAGES = {
  curl: (calls, origin) => calls.map((call) => curlLine(call, origin)).join("\n"),
  Python: pythonLines,
  TypeScript: typescriptLines,
};

/** @param {import("../core/api.js").Call[]} calls */
export function asCurl(calls) {
  if (calls.length === 0) return nothing;
  const language = codeIn.value in LANGUAGES ? codeIn.value : "curl";
  const lines = LANGUAGES[language](calls, window.location.origin);
  const team = currentTeam();
  return html`<details class="curl">
    <summary>${icon("terminal")}As ${language}</summary>
    <p>
      <label>In <select @change=${(event) => codeIn.set(event.target.value)}>${Object.keys(LANGUAGES).map((name) => html`<option .selected=${name === language}>${name}</option>`)}</select></label>
    </p>
    <pre tabindex="0" aria-label="Requests of this page"><code>${lines}</code></pre>
    ${copyButton(lines, language)}
    <p class="fine">
      <code>WAYBILL_KEY</code> in the environment is an API key of ${team?.name ?? "the team"}, environment ${environment()}. Where a page needs a person, it is an access token.
    </p>
  </details>`;
}
