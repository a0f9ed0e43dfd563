// A table that can be scrolled by itself, with its caption and the scopes of its headers; and the bar of what is new in a list.
import { html, nothing } from "./lit.js";
import { counted } from "./words.js";

/** @param {string} label What it lists. @param {string[]} columns @param {unknown} rows @param {string} [order] */
export function table(label, columns, rows, order = "") {
  return tableOf(label, columns.map((column) => html`<th scope="col">${column}</th>`), rows, order);
}

/** The same of headers that are made already. @param {string} label @param {unknown[]} headers @param {unknown} rows @param {string} order */
export function tableOf(label, headers, rows, order) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <table>
      <caption class="unseen">${label}${order}</caption>
      <thead><tr>${headers}</tr></thead>
      <tbody>${rows}</tbody>
    </table>
  </div>`;
}

/** @param {{latest: any[] | null, fresh: number}} state @param {() => void} merge @param {string} noun @param {string} [plural] */
export function freshBar(state, merge, noun, plural = `${noun}s`) {
  if (!state.latest) return nothing;
  const text = state.fresh > 0 ? counted(state.fresh, `new ${noun}`, `new ${plural}`) : "Some rows match no longer";
  return html`<p class="fresh"><button type="button" @click=${merge}>${text}: show <kbd>.</kbd></button></p>`;
}
