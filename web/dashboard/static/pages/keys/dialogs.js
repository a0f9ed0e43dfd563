// The dialogs of the page of keys: create, rotate, revoke, and the one that shows a key once.
import {
  copyButton, createAction, createForm, createRepeatKey, currentTeam, dialog, environmentField, field, html, request, saveFile, signal,
  submitButton, time,
} from "../../kit.js";
import { OVERLAPS, PRESETS, SCOPES } from "./scopes.js";

/** @typedef {{close: () => void, made: (key: any) => void, revoked: (key: any, ms: number) => void, stored: (is: boolean) => void}} Tell */

/** @param {Record<string, string>} values @param {FormData} data */
export function wantedKey(values, data) {
  const networks = values.allowedSources.split(/[\s,]+/).filter(Boolean);
  return {
    name: values.name,
    environment: values.environment,
    ...(values.preset === "custom" ? { scopes: data.getAll("scope").map(String) } : { preset: values.preset }),
    ...(values.brand ? { brand: values.brand } : {}),
    ...(values.expiresAt ? { expiresAt: new Date(values.expiresAt).toISOString() } : {}),
    ...(networks.length > 0 ? { allowedSources: networks } : {}),
  };
}

/** The text of a moment in a field of local time. @param {string} at */
const local = (at) => new Date(Date.parse(at) - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

/** @param {Tell} tell @param {any} [like] The key that it shall be like at first, but for its scopes. */
export function createDialog(tell, like) {
  const preset = signal(like ? "custom" : "full_access");
  const repeatKey = createRepeatKey();
  const form = createForm(async (values, element) => {
    const body = wantedKey(values, new FormData(element));
    const path = `/teams/${currentTeam()?.id}/apikeys`;
    const { apiKey } = await request({ method: "POST", path, body, headers: { "idempotency-key": repeatKey(body) } });
    tell.made(apiKey);
  });
  const scopes = () => html`<fieldset class="scopes">
    <legend>Scopes</legend>
    ${SCOPES.map(([name, meaning]) => html`<label class="inline"><input type="checkbox" name="scope" value=${name} ?checked=${like?.scopes.includes(name)} /> <code>${name}</code> ${meaning}</label>`)}
  </fieldset>`;
  const body = () => html`<form @submit=${form.submit}>
    ${form.problem(["name", "brand", "expiresAt", "allowedSources"])} ${field(form, { name: "name", label: "Name", value: like?.name, hint: "What uses it, such as: nightly invoices" })}
    ${environmentField(like?.environment)}
    <div class="field">
      <label for="preset">Access</label>
      <select id="preset" name="preset" @change=${(event) => (preset.value = event.target.value)}>
        ${PRESETS.map(([name, title]) => html`<option value=${name} .selected=${preset.value === name}>${title}</option>`)}
        <option value="custom" .selected=${preset.value === "custom"}>Chosen scopes</option>
      </select>
    </div>
    ${preset.value === "custom" ? scopes() : ""}
    ${field(form, { name: "allowedSources", label: "Networks", required: false, value: like?.allowedSources.join(", "), hint: "Such as 192.0.2.0/24, separated by commas. Empty: any." })}
    ${field(form, { name: "expiresAt", label: "Expires", type: "datetime-local", required: false, value: like?.expiresAt && local(like.expiresAt), hint: "Your local time. Empty: never." })}
    ${field(form, { name: "brand", label: "Brand", required: false, hint: "The word that it begins with. Empty: the usual one." })}
    <p class="actions">${submitButton(form, "Create the key")} <button type="button" @click=${tell.close}>Cancel</button></p>
  </form>`;
  return { view: () => dialog({ id: "create-key", title: "Create a key", body: body(), close: tell.close }) };
}

/** @param {any} key @param {Tell} tell */
export function rotateDialog(key, tell) {
  const form = createForm(async ({ overlap }) => {
    const { apiKey } = await request({ method: "POST", path: `/apikeys/${key.id}/rotate`, body: { overlapSeconds: Number(overlap) } });
    tell.made(apiKey);
  });
  const body = () => html`<form @submit=${form.submit}>
    ${form.problem([])}
    <p>The new key may do exactly what ${key.name} (<code>${key.displayPrefix}</code>) may. The old one is accepted beside it for a while.</p>
    <div class="field">
      <label for="overlap">For how long</label>
      <select id="overlap" name="overlap">
        ${OVERLAPS.map(([seconds, words]) => html`<option value=${seconds} ?selected=${seconds === 86_400}>${words}</option>`)}
      </select>
    </div>
    <p class="actions">${submitButton(form, "Rotate")} <button type="button" @click=${tell.close}>Cancel</button></p>
  </form>`;
  return { view: () => dialog({ id: "rotate-key", title: "Rotate a key", body: body(), close: tell.close }) };
}

/** @param {any} key @param {Tell} tell */
export function revokeDialog(key, tell) {
  const revoke = createAction({
    label: "Revoke it now",
    scope: "keys:write",
    done: "Revoked",
    danger: true,
    async act() {
      const begun = performance.now();
      await request({ method: "POST", path: `/apikeys/${key.id}/revoke` });
      tell.revoked(key, Math.round(performance.now() - begun));
    },
  });
  const body = () => html`${revoke.problem()}
    <p><strong>${key.name}</strong> (<code>${key.displayPrefix}</code>, <code>${key.id}</code>) is refused everywhere from then on. This cannot be taken back.</p>
    <p>${key.lastUsedAt ? html`It was last used ${time(key.lastUsedAt)} from <code>${key.lastUsedFrom}</code>.` : "No use of it is known."}</p>
    <p class="actions">${revoke.view()} <button type="button" @click=${tell.close}>Keep it</button></p>`;
  return { view: () => dialog({ id: "revoke-key", title: "Revoke a key", body: body(), close: tell.close }) };
}

/** @param {string} secret */
function envFile(secret) {
  saveFile("waybill.env", new Blob([`WAYBILL_KEY=${secret}\n`], { type: "text/plain" }));
}

/** @param {any} key @param {boolean} isStored @param {Tell} tell */
export function secretDialog(key, isStored, tell) {
  const origin = window.location.origin;
  const curl = () => `curl -sS ${origin}/v1/key -H "Authorization: Bearer ${key.key}"`;
  const body = html`<p>This is the only time that the key is shown. Its id is <code>${key.id}</code>.</p>
    <p class="secret"><code id="new-key" tabindex="0">${key.key}</code> ${copyButton(() => key.key, "key")}</p>
    <p>
      <button type="button" @click=${() => envFile(key.key)}>Save as waybill.env</button>
      A request that shows what it may do: ${copyButton(curl, "curl line")}
    </p>
    <p><label class="inline"><input type="checkbox" .checked=${isStored} @change=${(event) => tell.stored(event.target.checked)} /> I have stored it</label></p>
    <p class="actions"><button type="button" class="primary" ?disabled=${!isStored} @click=${tell.close}>Close</button></p>`;
  return dialog({ id: "secret", title: `Key ${key.name}`, body, close: tell.close, closable: isStored });
}
