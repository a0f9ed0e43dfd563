// What a team has, as lists that stand still, with the dialogs by which people change it: a form and a question.
import { html, nothing } from "./lit.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { activityEvents } from "../core/live.js";
import { whyNot } from "../core/team.js";
import { createAction } from "./action.js";
import { dialog } from "./dialog.js";
import { createForm, submitButton } from "./form.js";
import { icon } from "./icon.js";
import { createStillList } from "./still-list.js";

/** @typedef {ReturnType<typeof createForm>} Form */

/** @param {Parameters<typeof createStillList>[0] & {types: string[]}} what `types`: beginnings of the types of activity after which it is read again, where no other feeds are named. */
export function createInventory({ types, ...what }) {
  /** @type {{value: {view: () => unknown} | null}} */
  const opened = signal(null);
  const close = () => {
    opened.value = null;
  };
  const list = createStillList({
    feeds: [activityEvents],
    concerns: ({ type }) => types.some((beginning) => type.startsWith(beginning)),
    ...what,
  });
  const show = (title, body) => {
    opened.value = { view: () => dialog({ id: "change", title, close, body: body() }) };
  };

  return {
    /**
     * A form in a dialog, which closes when its request was accepted.
     * @param {{title: string, label: string, names: string[], fields: (form: Form) => unknown, send: (values: Record<string, string>, form: HTMLFormElement) => Promise<void>}} what
     */
    fill({ title, label, names, fields, send }) {
      const form = createForm(async (values, element) => {
        await send(values, element);
        close();
        void list.reload();
      });
      const body = () => html`<form @submit=${form.submit}>
        ${form.problem(names)} ${fields(form)}
        <p class="actions">${submitButton(form, label)} <button type="button" @click=${close}>Cancel</button></p>
      </form>`;
      show(title, body);
    },
    /**
     * A question before something is done that cannot be taken back. `typed`: what has to be typed first. `act` answers `true` when the page is left.
     * @param {{title: string, body: unknown, label: string, shape: string, scope: string, typed?: string, act: () => Promise<any>}} what
     */
    ask({ title, body, label, shape, scope, typed = "", act }) {
      const given = signal("");
      const action = createAction({
        label,
        icon: shape,
        scope,
        danger: true,
        done: "Done",
        barred: () => (given.value === typed ? "" : `Type ${typed} first.`),
        async act() {
          const isLeft = (await act()) === true;
          close();
          if (!isLeft) void list.reload();
        },
      });
      show(
        title,
        () => html`${action.problem()} ${body}
          ${typed ? html`<label>Type <strong>${typed}</strong> <input autocomplete="off" @input=${(event) => (given.value = event.target.value)} /></label>` : nothing}
          <p class="actions">${action.view()} <button type="button" @click=${close}>Keep it</button></p>`,
      );
    },
    /** @param {(rows: any[], data: any) => unknown} content */
    view: (content) => html`${list.view(content)} ${opened.value?.view() ?? nothing}`,
    reload: list.reload,
    soon: list.soon,
    dispose: list.dispose,
  };
}

/** A small button of a row; disabled, with the reason as its title, for whoever may not. @param {string} shape @param {string} word @param {string} of @param {string} scope @param {() => void} act */
export function rowButton(shape, word, of, scope, act) {
  const barred = scope ? whyNot(scope) : "";
  return html`<button type="button" class="small" aria-label=${`${word} ${of}`} title=${barred || nothing} ?disabled=${barred !== ""} @click=${act}>${icon(shape)}${word}</button>`;
}
