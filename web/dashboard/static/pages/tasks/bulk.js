// Several tasks of a page at once: which are selected, and cancelling them one by one, with what each was refused for.
import { html, nothing } from "../../ui/lit.js";
import { signal } from "../../vendor/signals-core/signals-core.js";
import { request } from "../../core/api.js";
import { Failure } from "../../core/failure.js";
import { href } from "../../core/location.js";
import { whyNot } from "../../core/team.js";
import { announce } from "../../ui/announce.js";
import { dialog } from "../../ui/dialog.js";
import { icon } from "../../ui/icon.js";
import { counted, number } from "../../ui/words.js";

/** Requests that are under way at a time. */
const AT_ONCE = 4;

/** Those that are selected after one was pressed: with `isRange`, also all between it and the one before. @param {string[]} ids @param {Set<string>} chosen @param {string} id @param {string} before @param {boolean} isRange */
export function afterPress(ids, chosen, id, before, isRange) {
  const next = new Set(chosen);
  const [from, to] = [ids.indexOf(before), ids.indexOf(id)].sort((one, other) => one - other);
  if (isRange && from >= 0) for (const between of ids.slice(from, to + 1)) next.add(between);
  else if (!next.delete(id)) next.add(id);
  return next;
}

/** @param {() => string[]} ids Of the rows that are shown. */
export function createBulk(ids) {
  /** @type {{value: Set<string>, peek(): Set<string>}} */
  const chosen = signal(new Set());
  const isAsked = signal(false);
  /** @type {{value: {done: number, total: number, refused: {id: string, message: string}[]} | null, peek(): any}} */
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

  async function cancelAll() {
    const all = [...chosen.peek()];
    const waiting = [...all];
    isAsked.value = false;
    run.value = { done: 0, total: all.length, refused: [] };
    const work = async () => {
      for (let id = waiting.shift(); id; id = waiting.shift()) {
        const own = id;
        const failure = await request({ method: "POST", path: `/v1/tasks/${own}/cancel` }).then(() => null, (error) => error);
        if (failure && !(failure instanceof Failure)) throw failure;
        const now = run.peek();
        run.value = { ...now, done: now.done + 1, refused: failure ? [...now.refused, { id: own, message: failure.message }] : now.refused };
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const { refused, total } = run.peek();
    chosen.value = new Set(refused.map(({ id }) => id));
    announce(`${total - refused.length} of ${total} cancelled`);
  }

  const close = () => {
    isAsked.value = false;
  };
  const question = () =>
    dialog({
      id: "cancel-tasks",
      title: `Cancel ${counted(chosen.value.size, "task")}?`,
      close,
      body: html`<p>Those that wait end at once; a call that runs is cut off. This cannot be taken back.</p>
        <ul>${[...chosen.value].map((id) => html`<li><code>${id}</code></li>`)}</ul>
        <p class="actions">
          <button type="button" class="danger" @click=${cancelAll}>${icon("ban")}Cancel ${counted(chosen.value.size, "task")}</button>
          <button type="button" @click=${close}>Keep them</button>
        </p>`,
    });

  const outcome = () => {
    const { done, total, refused } = run.value;
    return html`<div class="notice" role="status">
      <p>${done < total ? `${number(done)} of ${counted(total, "task")} asked` : `${number(total - refused.length)} of ${counted(total, "task")} cancelled`}${refused.length > 0 ? `, ${number(refused.length)} refused:` : "."}</p>
      ${refused.length > 0 ? html`<ul>${refused.map(({ id, message }) => html`<li><a href=${href(`/tasks/${id}`)}>…${id.slice(-10)}</a>: ${message}</li>`)}</ul>` : nothing}
      ${done === total ? html`<button type="button" class="small" @click=${() => (run.value = null)}>${icon("x")}Close</button>` : nothing}
    </div>`;
  };

  return {
    /** Another list: nothing of it is selected. */
    reset() {
      clear();
      run.value = null;
    },
    clear,
    pressFocused(isRange) {
      const row = document.activeElement?.closest("[data-row]");
      if (row instanceof HTMLElement && row.dataset.row) press(row.dataset.row, isRange);
      else announce("No row has the focus");
    },
    /** @param {string} id */
    box: (id) =>
      html`<input type="checkbox" aria-label=${`Select …${id.slice(-10)}`} .checked=${chosen.value.has(id)} @click=${(event) => press(id, event.shiftKey)} />`,
    view() {
      const barred = whyNot("tasks:write");
      const { size } = chosen.value;
      const isBusy = run.value !== null && run.value.done < run.value.total;
      return html`${size > 0
        ? html`<p class="actions selection">
            <span>${counted(size, "task")} of this page selected</span>
            <button type="button" class="danger" ?disabled=${barred !== "" || isBusy} @click=${() => (isAsked.value = true)}>${icon("ban")}Cancel them…</button>
            <button type="button" class="quiet" @click=${clear}>Select none</button>
            ${barred ? html`<span class="fine">${barred}</span>` : nothing}
          </p>`
        : nothing}
      ${run.value ? outcome() : nothing} ${isAsked.value ? question() : nothing}`;
    },
  };
}
