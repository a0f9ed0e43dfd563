// The palette: go to a page, do something, or find anything by its id.
import { html, nothing } from "../ui/lit.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { go, href } from "../core/location.js";
import { icon } from "../ui/icon.js";
import { dialog } from "../ui/dialog.js";

/** @typedef {[what: string, act: () => void, shape: string]} Entry */

/** Kinds of ids, and the pages that show what they name. @type {[RegExp, string, (id: string) => string][]} */
const IDS = [
  [/^task_\w+$/, "task", (id) => href(`/tasks/${id}`)],
  [/^key_\w+$/, "activity of the key", (id) => href("/activity", { actor: `key:${id}` })],
  [/^user_\w+$/, "activity of the person", (id) => href("/activity", { actor: `user:${id}` })],
  [/^(?:tok|app|grant|inv|ses|team)_\w+$/, "activity about", (id) => href("/activity", { target: id })],
  [/^[\w-]{1,100}$/, "queue", (id) => href(`/queues/${id}`)],
];

/** What a text can be the id of. @param {string} text @returns {[string, string][]} What it is, and the address. */
export function placesOf(text) {
  const id = text.trim();
  const known = IDS.findIndex(([shape]) => shape.test(id));
  const places = known < 0 ? [] : [/** @type {[string, string]} */ ([`Open ${IDS[known][1]} ${id}`, IDS[known][2](id)])];
  return id && known !== 0 ? [...places, [`Search tasks for ${id}`, href("/tasks", { q: id })]] : places;
}

/** Entries with every word that was typed, in their order. @param {Entry[]} entries @param {string} text */
export function found(entries, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return entries.filter(([what]) => words.every((word) => what.toLowerCase().includes(word)));
}

/** @param {Entry[]} entries @param {() => void} close */
export function createPalette(entries, close) {
  const typed = signal("");
  const chosen = signal(0);
  const all = () => {
    const places = placesOf(typed.value).map(([what, address]) => /** @type {Entry} */ ([what, () => go(address), "search"]));
    const own = found(entries, typed.value);
    // An id is what was pasted; a word is more often the name of a page.
    return /_/.test(typed.value) ? [...places, ...own] : [...own, ...places];
  };
  /** @param {Entry | undefined} entry */
  const run = (entry) => {
    if (!entry) return;
    close();
    entry[1]();
  };
  const pressed = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const { length } = all();
    if (step && length > 0) {
      event.preventDefault();
      chosen.value = (chosen.peek() + step + length) % length;
      queueMicrotask(() => document.getElementById(`entry-${chosen.peek()}`)?.scrollIntoView({ block: "nearest" }));
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(all()[chosen.peek()]);
    }
  };
  const input = (event) => {
    typed.value = event.target.value;
    chosen.value = 0;
  };
  return {
    view() {
      const shown = all();
      const body = html`<input
          type="text"
          role="combobox"
          aria-expanded="true"
          aria-controls="entries"
          aria-label="Page, action or id"
          aria-activedescendant=${shown.length > 0 ? `entry-${chosen.value}` : nothing}
          autocomplete="off"
          placeholder="A page, an action, or an id"
          autofocus
          @input=${input}
          @keydown=${pressed}
        />
        <ul id="entries" role="listbox" aria-label="Found">
          ${shown.map(
            (entry, n) => html`<li id=${`entry-${n}`} role="option" aria-selected=${n === chosen.value ? "true" : "false"} @click=${() => run(entry)}>${icon(entry[2])}${entry[0]}</li>`,
          )}
        </ul>
        ${shown.length === 0 ? html`<p role="status">Nothing is called like that.</p>` : nothing}
        <p class="fine"><kbd>↑</kbd> <kbd>↓</kbd> choose, <kbd>Enter</kbd> goes, <kbd>Esc</kbd> closes.</p>`;
      return dialog({ id: "palette", title: "Go to", body, close });
    },
  };
}
