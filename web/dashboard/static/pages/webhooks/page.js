// Webhooks: how their deliveries stand, sending them again, a sample, the secret that signs them, and why a signature does not match.
import {
  copyButton, createAction, createForm, createReading, get, href, html, icon, loaded, nothing, number, request, signal, submitButton, time, whyNot,
  withQuery,
} from "../../kit.js";
import { OVERLAPS } from "../keys/scopes.js";
import { createDeliveries, STATES } from "./deliveries.js";
import { SNIPPETS } from "./snippets.js";

const SECRET = "/v1/signing-secret";
const SCOPE = "signing-secret:write";

/** Headers as they are pasted, a line for each. @param {string} text @returns {Record<string, string>} */
export function headersIn(text) {
  const lines = text.split("\n").map((line) => line.match(/^\s*([\w-]+)\s*:\s*(.*?)\s*$/));
  return Object.fromEntries(lines.filter((found) => found !== null).map(([, name, value]) => [name.toLowerCase(), value]));
}

export function open() {
  const deliveries = createDeliveries();
  const paths = STATES.map((webhook) => withQuery("/v1/tasks", { kind: "all", webhook, limit: 1, fields: "status" }));
  const reading = createReading({
    page: "/webhooks",
    path: () => paths[0],
    concerns: ({ type, ok }) => type.startsWith("task.callback") || ok !== undefined,
    rarer: 3,
    read: (stop) => Promise.all(paths.map((path) => get(path, { signal: stop }))),
  });
  /** The secret while it is shown. @type {{value: any}} */
  const shown = signal(null);
  const show = createAction({
    label: "Show the secret",
    scope: SCOPE,
    done: "Shown",
    again: true,
    async act() {
      shown.value = (await get(SECRET)).signingSecret;
    },
  });
  const rotated = signal("");
  const rotate = createForm(async ({ overlap }) => {
    const { signingSecret } = await request({ method: "POST", path: `${SECRET}/rotate`, body: { overlapSeconds: Number(overlap) } });
    shown.value = signingSecret;
    rotated.value = "Calls are signed with the new secret from now on.";
  });
  /** @type {{value: any}} */
  const verdict = signal(null);
  const verify = createForm(async ({ headers, body }) => {
    verdict.value = null;
    verdict.value = await request({ method: "POST", path: "/v1/signatures/verify", body: { headers: headersIn(headers), body } });
  });
  const barred = whyNot(SCOPE);

  const secret = () => {
    if (!shown.value) return html`<p class="actions">${show.view()}</p>${show.problem()}`;
    const { secret: text, former, number: times } = shown.value;
    return html`<p class="secret"><code>${text}</code> ${copyButton(() => text, "secret")} <button type="button" class="small" @click=${() => (shown.value = null)}>Hide</button></p>
      <p class="fine">${times === 0 ? "It was never rotated." : `Rotated ${number(times)} times.`} ${former ? html`The one before it signs as well until ${time(former.signsUntil)}.` : nothing}</p>`;
  };

  return {
    title: "Webhooks",
    requests: () => [...paths, deliveries.path(), SECRET].map((path) => ({ method: "GET", path })),
    view: () => html`<h1>Webhooks</h1>
      <p>A task with <code>onCompleteUrl</code> tells its end there. A delivery that fails is repeated; the page of the task shows each, and sends it again.</p>
      ${loaded(
        reading.loader,
        (answers) => html`<ul class="figures">
          ${answers.map(
            ({ pagination: { total, totalExact } }, n) =>
              html`<li><a href=${href("/tasks", { webhook: STATES[n] })}><strong>${totalExact ? "" : "≥ "}${number(total)}</strong> ${STATES[n].replace("_", " ")}</a></li>`,
          )}
        </ul>`,
      )}
      ${deliveries.view()} ${deliveries.sample()}
      <h2>Signing secret</h2>
      <p>Every call and webhook is signed with it, so that its receiver can tell that it comes from here.</p>
      ${secret()}
      <form @submit=${rotate.submit}>
        ${rotate.problem([])}
        <fieldset ?disabled=${barred !== ""}>
          <legend>Rotate</legend>
          <div class="field">
            <label for="overlap">The one before it signs as well for</label>
            <select id="overlap" name="overlap">${OVERLAPS.map(([seconds, words]) => html`<option value=${seconds} ?selected=${seconds === 86_400}>${words.replace("key ends", "one stops")}</option>`)}</select>
          </div>
          <p class="actions">${submitButton(rotate, "Rotate the secret")} ${rotated.value ? html`<span role="status">${rotated.value}</span>` : nothing}</p>
        </fieldset>
      </form>
      <h2>Verify it</h2>
      <p>Libraries of Standard Webhooks do it with the secret as it is shown. Without one, by the bytes of the body as they came:</p>
      ${SNIPPETS.map(
        ([language, code]) => html`<details>
          <summary>${language}</summary>
          <pre tabindex="0" aria-label=${`Verification in ${language}`}><code>${code}</code></pre>
          <p>${copyButton(code, `code in ${language}`)}</p>
        </details>`,
      )}
      <h2>A signature does not match?</h2>
      <form @submit=${verify.submit}>
        ${verify.problem([])}
        <div class="field"><label for="headers">Headers as received, one a line</label><textarea id="headers" name="headers" rows="4" spellcheck="false" required placeholder="webhook-signature: v1,…"></textarea></div>
        <div class="field"><label for="body">Body as received</label><textarea id="body" name="body" rows="4" spellcheck="false"></textarea></div>
        <p class="actions">${submitButton(verify, "Check it")}</p>
      </form>
      ${verdict.value
        ? html`<div class="notice" role="status">
            <p>${icon(verdict.value.valid ? "circle-check" : "x")}<strong>${verdict.value.valid ? "It is signed as it should be." : "It is not signed as it should be."}</strong></p>
            <ul>
              ${verdict.value.schemes.map(
                ({ scheme, valid, signedWith, differs }) => html`<li>${scheme}: ${valid ? `right, with the ${signedWith} secret` : differs.map(({ part, message }) => html`<code>${part}</code>: ${message} `)}</li>`,
              )}
            </ul>
          </div>`
        : nothing}`,
    dispose() {
      shown.value = null;
      deliveries.dispose();
      reading.dispose();
    },
  };
}
