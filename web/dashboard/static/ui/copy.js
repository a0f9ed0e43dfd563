// Copying to the clipboard, also where a browser gives pages no clipboard (http on another machine).
import { html } from "./lit.js";
import { icon } from "./icon.js";
import { announce } from "./announce.js";

/** @param {string} text @param {string} [what] */
export async function copy(text, what = "Text") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  announce(`${what} copied`);
}

/** @param {string | (() => string)} text @param {string} what What is copied, for its label. */
export function copyButton(text, what) {
  const press = async (event) => {
    const button = event.currentTarget;
    await copy(typeof text === "string" ? text : text(), what);
    button.lastChild.textContent = "Copied";
    setTimeout(() => {
      button.lastChild.textContent = "Copy";
    }, 1500);
  };
  return html`<button type="button" class="quiet small" aria-label=${`Copy ${what}`} @click=${press}>${icon("copy")}<span>Copy</span></button>`;
}

/** Gives the person a file. @param {string} name @param {Blob} blob */
export function saveFile(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
