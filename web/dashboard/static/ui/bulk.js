// Several rows of a page at once: which are selected, and one thing done to each of them, with what each was refused for.
import { html, nothing } from "./lit.js";
import { request } from "../core/api.js";
import { Failure } from "../core/failure.js";
import { href } from "../core/location.js";
import { whyNot } from "../core/team.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { announce } from "./announce.js";
import { dialog } from "./dialog.js";
import { createForm } from "./form.js";
import { icon } from "./icon.js";
import { counted, number } from "./words.js";

/** Requests that are under way at a time. */
const AT_ONCE = 4;

/**
 * @typedef {object} Verb What may be done to the rows that are selected.
 * @property {string} name In the infinitive: `Cancel`.
 * @property {string} past As in `2 of 3 tasks cancelled`.
 * @property {string} shape Its icon.
 * @property {boolean} [danger]
 * @property {unknown} words What that means for them.
 * @property {string} keep The button that does nothing.
 * @property {(form: ReturnType<typeof createForm>) => unknown} [fields] What else is asked for.
 * @property {(id: string, values: Record<string, string>) => import("../core/api.js").Call} call The request for one row.
 */

/** Those that are selected after one was pressed: with `isRange`, also all between it and the one before. @param {string[]} ids @param {Set<string>} chosen @param {string} id @param {string} before @param {boolean} isRange */
export function afterPress(ids, chosen, id, before, isRange) {
  const next = new Set(chosen);
  const [from, to] = [ids.indexOf(before), ids.indexOf(id)].sort((one, other) => one - other);
  if (isRange && from >= 0) for (const between of ids.slice(from, to + 1)) next.add(between);
  else if (!next.delete(id)) next.add(id);
  return next;
}

/**
 * @param {object} what
 * @param {() => string[]} what.ids Of the rows that are shown.
 * @param {string} what.noun
 * @param {string} what.scope Which the verbs take.
 * @param {(id: string) => string} what.page The path of the page of one.
 * @param {(id: string) => string} [what.nameOf]
 * @param {Verb[]} what.verbs
 * @param {() => void} [what.done] All were asked.
 */
export function createBulk({ ids, noun, scope, page, nameOf = (id) => `…${id.slice(-10)}`, verbs, done = () => {} }) {
  /** @type {{value: Set<string>, peek(): Set<string>}} */
  const chosen = signal(new Set());
  /** @type {{value: {view: () => unknown} | null}} */
  const question = signal(null);
  /** @type {{value: {past: string, done: number, total: number, refused: {id: string, message: string}[]} | null, peek(): any}} */
  const run = signal(null);
  let last = "";

  /** @param {string} id @param {boolean} isRange */
  function press(id, isRange) {
    chosen.value = afterPress(ids(), chosen.peek(), id, last, isRange);
    last = id;
  }
  const clear = () => {
    chosen.value = new Set();
  };
  const close = () => {
    question.value = null;
  };
  /** What is selected and still shown: a row that is gone cannot be meant any more. */
  const selected = () => ids().filter((id) => chosen.value.has(id));

  /** @param {Verb} verb @param {Record<string, string>} values */
  async function all({ past, call }, values) {
    const wanted = selected();
    const waiting = [...wanted];
    run.value = { past, done: 0, total: wanted.length, refused: [] };
    const work = async () => {
      for (let id = waiting.shift(); id; id = waiting.shift()) {
        const own = id;
        const failure = await request(call(own, values)).then(() => null, (error) => error);
        if (failure && !(failure instanceof Failure)) throw failure;
        const now = run.peek();
        run.value = { ...now, done: now.done + 1, refused: failure ? [...now.refused, { id: own, message: failure.message }] : now.refused };
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const { refused, total } = run.peek();
    chosen.value = new Set(refused.map(({ id }) => id));
    announce(`${total - refused.length} of ${total} ${past}`);
    done();
  }

  /** @param {Verb} verb */
  function ask(verb) {
    const { name, shape, danger, words, keep, fields } = verb;
    const form = createForm(async (values) => {
      close();
      void all(verb, values);
    });
    const many = counted(selected().length, noun);
    question.value = {
      view: () =>
        dialog({
          id: `${name.toLowerCase()}-${noun}s`,
          title: `${name} ${many}?`,
          close,
          body: html`<form @submit=${form.submit}>
            <p>${words}</p>
            <ul>${selected().map((id) => html`<li>${nameOf(id) === id ? nothing : html`${nameOf(id)} `}<code>${id}</code></li>`)}</ul>
            ${fields?.(form) ?? nothing}
            <p class="actions">
              <button type="submit" class=${danger ? "danger" : "primary"}>${icon(shape)}${name} ${many}</button>
              <button type="button" @click=${close}>${keep}</button>
            </p>
          </form>`,
        }),
    };
  }

  const outcome = () => {
    const { past, done: asked, total, refused } = run.value;
    return html`<div class="notice" role="status">
      <p>${asked < total ? `${number(asked)} of ${counted(total, noun)} asked` : `${number(total - refused.length)} of ${counted(total, noun)} ${past}`}${refused.length > 0 ? `, ${number(refused.length)} refused:` : "."}</p>
      ${refused.length > 0 ? html`<ul>${refused.map(({ id, message }) => html`<li><a href=${href(page(id))}>${nameOf(id)}</a>: ${message}</li>`)}</ul>` : nothing}
      ${asked === total ? html`<button type="button" class="small" @click=${() => (run.value = null)}>${icon("x")}Close</button>` : nothing}
    </div>`;
  };
  /** @param {boolean} isRange */
  function pressFocused(isRange) {
    const row = document.activeElement?.closest("[data-row]");
    if (row instanceof HTMLElement && row.dataset.row) press(row.dataset.row, isRange);
    else announce("No row has the focus");
  }

  return {
    /** Another list: nothing of it is selected. */
    reset() {
      clear();
      run.value = null;
    },
    /** @type {import("../core/shortcuts.js").Shortcut[]} */
    shortcuts: [
      { keys: "x", what: "Select the row", act: () => pressFocused(false) },
      { keys: "X", what: "Select the rows up to this one", act: () => pressFocused(true) },
    ],
    /** @param {string} id */
    box: (id) =>
      html`<input type="checkbox" aria-label=${`Select ${nameOf(id)}`} .checked=${chosen.value.has(id)} @click=${(event) => press(id, event.shiftKey)} />`,
    view() {
      const barred = whyNot(scope);
      const size = selected().length;
      const isBusy = run.value !== null && run.value.done < run.value.total;
      return html`${size > 0
        ? html`<p class="actions selection">
            <span>${counted(size, noun)} of this page selected</span>
            ${verbs.map((verb) => html`<button type="button" class=${verb.danger ? "danger" : ""} ?disabled=${barred !== "" || isBusy} @click=${() => ask(verb)}>${icon(verb.shape)}${verb.name} them…</button>`)}
            <button type="button" class="quiet" @click=${clear}>Select none</button>
            ${barred ? html`<span class="fine">${barred}</span>` : nothing}
          </p>`
        : nothing}
      ${run.value ? outcome() : nothing} ${question.value?.view() ?? nothing}`;
    },
  };
}
