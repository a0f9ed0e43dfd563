// A modal dialog: the browser keeps the focus in it and gives it back.
import { html } from "./lit.js";

/** Opens a dialog as soon as it is in the document. @param {string} id */
function show(id) {
  const element = document.getElementById(id);
  if (element instanceof HTMLDialogElement && !element.open) element.showModal();
}

/**
 * @param {{id: string, title: string, body: unknown, close: () => void, closable?: boolean}} what `closable: false`: Escape does not end it.
 */
export function dialog({ id, title, body, close, closable = true }) {
  queueMicrotask(() => show(id));
  const cancel = (event) => {
    event.preventDefault();
    if (closable) close();
  };
  return html`<dialog id=${id} aria-labelledby=${`${id}-title`} @cancel=${cancel}>
    <h2 id=${`${id}-title`}>${title}</h2>
    ${body}
  </dialog>`;
}
