// The form of an application: what people are told of it, where it may send them back, and the most that it may be granted.
import { copyButton, dialog, environmentField, field, fieldError, html, nothing, signal } from "../../kit.js";
import { SCOPES } from "../keys/scopes.js";
import { redirectProblem, redirectsIn } from "./redirect.js";

/** Fields of the form that say by themselves what is wrong with them. */
export const NAMES = ["name", "redirectUris"];
/** An application never manages keys. */
const GRANTABLE = SCOPES.filter(([name]) => name !== "keys:write");

/** @param {any} [app] One that there is: its kind and its environment stay. */
export function createAppFields(app) {
  const typed = signal(app ? app.redirectUris.join("\n") : "");
  const wrong = () => redirectsIn(typed.value).map((uri) => [uri, redirectProblem(uri)]).filter(([, problem]) => problem);
  const uris = (form) => {
    const all = wrong();
    return html`<div class="field">
      <label for="redirectUris">Redirect URIs</label>
      <textarea
        id="redirectUris"
        name="redirectUris"
        rows="3"
        autocomplete="off"
        spellcheck="false"
        aria-invalid=${all.length > 0 ? "true" : nothing}
        aria-describedby="hint-redirects wrong-redirects"
        .value=${app ? app.redirectUris.join("\n") : ""}
        @input=${(event) => (typed.value = event.target.value)}
      ></textarea>
      <p class="hint" id="hint-redirects">One a line, at most 10. None: it acts for itself alone, with its secret.</p>
      <ul class="field-error" id="wrong-redirects" aria-live="polite">${all.map(([uri, problem]) => html`<li><code>${uri}</code>: ${problem}</li>`)}</ul>
      ${fieldError(form.failure, "redirectUris")}
    </div>`;
  };
  return {
    /** @param {ReturnType<typeof import("../../ui/form.js").createForm>} form */
    view: (form) => html`${field(form, { name: "name", label: "Name", hint: "People see it when they are asked for consent.", value: app?.name ?? "" })}
      ${app
        ? nothing
        : html`<div class="grid">
            <div class="field">
              <label for="type">Kind</label>
              <select id="type" name="type">
                <option value="confidential">Confidential: it can keep a secret</option>
                <option value="public">Public: on devices of people, without a secret</option>
              </select>
            </div>
            ${environmentField()}
          </div>`}
      ${uris(form)}
      <fieldset class="scopes">
        <legend>The most that it may be granted</legend>
        ${GRANTABLE.map(([name, meaning]) => html`<label class="inline"><input type="checkbox" name="scope" value=${name} ?checked=${app?.scopes.includes(name) ?? false} /> <code>${name}</code> ${meaning}</label>`)}
      </fieldset>`,
    /** What the form asks for. @param {Record<string, string>} values @param {HTMLFormElement} element */
    wanted(values, element) {
      const { name, type, environment: where, redirectUris } = values;
      const scopes = new FormData(element).getAll("scope").map(String);
      return { name, redirectUris: redirectsIn(redirectUris), scopes, ...(app ? {} : { type, environment: where }) };
    },
  };
}

/** The one time that a secret is shown; the dialog ends once it is stored. @param {any} app @param {boolean} isStored @param {{stored: (is: boolean) => void, close: () => void}} tell */
export function secretDialog(app, isStored, { stored, close }) {
  const body = html`<p>This is the only time that the secret is shown. The application's <code>client_id</code> is <code>${app.id}</code>.</p>
    <p class="secret"><code id="client-secret" tabindex="0">${app.clientSecret}</code> ${copyButton(() => app.clientSecret, "secret")}</p>
    <p><label class="inline"><input type="checkbox" .checked=${isStored} @change=${(event) => stored(event.target.checked)} /> I have stored it</label></p>
    <p class="actions"><button type="button" class="primary" ?disabled=${!isStored} @click=${close}>Close</button></p>`;
  return dialog({ id: "app-secret", title: `Secret of ${app.name}`, body, close, closable: isStored });
}
