// The filters of a list. They are parameters of the API, and the address holds them; what the API refuses is said beside the field.
import { html, nothing } from "./lit.js";
import { fieldError } from "./failure.js";
import { icon } from "./icon.js";
import { time } from "./time.js";
import { counted } from "./words.js";

/** @typedef {Record<string, string>} Filters */
/** @typedef {[name: string, label: string, hint: string][]} Texts Filters that are texts. */
/** @typedef {[name: string, label: string, values: string[]][]} Choices Filters with few values. */

/** @param {string[]} names @param {URLSearchParams} query @returns {Filters} Those that are set. */
export function filtersIn(names, query) {
  return Object.fromEntries(names.map((name) => [name, query.getAll(name).join(",")]).filter(([, value]) => value));
}

/** Every filter without a value, so that setting some takes out the others. @param {string[]} names @returns {Filters} */
export function without(names) {
  return Object.fromEntries([...names, "cursor"].map((name) => [name, ""]));
}

/**
 * @param {object} what
 * @param {string} what.label
 * @param {Filters} what.filters
 * @param {(changes: Filters) => void} what.set
 * @param {Texts} what.texts
 * @param {Choices} [what.choices]
 * @param {import("../core/failure.js").Failure | null} [what.failure]
 * @param {unknown} [what.first] What stands above the fields.
 * @param {unknown} [what.more] Further fields.
 * @param {(given: Filters) => Filters} [what.read] How the values of the form become filters.
 */
export function filterForm({ label, filters, set, texts, choices = [], failure = null, first = nothing, more = nothing, read = (given) => given }) {
  const submitted = (event) => {
    event.preventDefault();
    set(read(Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value)]))));
  };
  const wrong = (name) => (failure?.field === name ? "true" : nothing);
  const shown = texts.filter(([name]) => filters[name]);
  return html`<form class="filters" role="search" aria-label=${label} @submit=${submitted}>
    ${first}
    <div class="inputs">
      ${texts.map(
        ([name, title, hint], n) => html`<label
          >${title} <input name=${name} type="search" placeholder=${hint} aria-invalid=${wrong(name)} aria-describedby=${wrong(name) === nothing ? nothing : `error-${name}`} .value=${filters[name] ?? ""} ?data-search=${n === 0} />
          ${fieldError(failure, name)}
        </label>`,
      )}
      ${choices.map(
        ([name, title, values]) => html`<label
          >${title}
          <select name=${name} @change=${(event) => set({ [name]: event.target.value })}>
            <option value="" .selected=${!filters[name]}>any</option>
            ${values.map((value) => html`<option value=${value} .selected=${filters[name] === value}>${value.replace("_", " ")}</option>`)}
          </select></label
        >`,
      )}
      ${more}
      <button type="submit">${icon("filter")}Filter</button>
    </div>
    ${shown.length > 0
      ? html`<p class="chips">
          ${shown.map(([name, title]) => html`<button type="button" class="chip" @click=${() => set({ [name]: "" })}>${icon("x")}<span class="unseen">Take out </span>${title}: ${filters[name]}</button>`)}
        </p>`
      : nothing}
  </form>`;
}

/** Sets of filters that are often wanted. @param {[string, Filters][]} presets @param {(wanted: Filters) => boolean} isSame @param {(wanted: Filters) => void} set */
export function presetChips(presets, isSame, set) {
  return html`<p class="chips">
    ${presets.map(([name, wanted]) => html`<button type="button" class="chip" aria-pressed=${isSame(wanted)} @click=${() => set(wanted)}>${name}</button>`)}
  </p>`;
}

/** How much the API looked at for filters that have no index. @param {{tasks: number, from: string | null, complete: boolean} | null | undefined} searched */
export function searchedNote(searched) {
  if (!searched || searched.tasks === 0) return nothing;
  const all = searched.complete ? "all there are" : "there are older ones";
  return html`<span class="fine">Looked at ${counted(searched.tasks, "task")}, the oldest of ${time(searched.from)}: ${all}.</span>`;
}
