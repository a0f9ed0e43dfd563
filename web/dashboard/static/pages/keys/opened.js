// What the pages of keys share: whom they are for, and the dialog that is open.
import { createStore, currentTeam, empty, html, nothing, roleMay, whyNot } from "../../kit.js";
import { createDialog, revokeDialog, rotateDialog, secretDialog } from "./dialogs.js";
import { noDialog, reduce } from "./state.js";

/** @param {() => unknown} reload Called when there is a new key, or one less. */
export function createKeyDialogs(reload) {
  const store = createStore(reduce, noDialog);
  /** The dialog with a form that is open. @type {{view: () => unknown} | null} */
  let opened = null;
  const tell = {
    close() {
      // Drawn once more without the key, so that no element that anything still holds has it.
      store.dispatch({ type: "forgotten" });
      store.dispatch({ type: "closed" });
    },
    stored: (stored) => store.dispatch({ type: "stored", stored }),
    made(key) {
      store.dispatch({ type: "made", key });
      void reload();
    },
    revoked(key, ms) {
      store.dispatch({ type: "revoked", key, ms });
      void reload();
    },
  };
  return {
    /** @param {any} dialog */
    start(dialog) {
      if (dialog.kind === "create") opened = createDialog(tell, dialog.like);
      else if (dialog.kind === "rotate") opened = rotateDialog(dialog.key, tell);
      else opened = revokeDialog(dialog.key, tell);
      store.dispatch({ type: "opened", dialog });
    },
    notice: () => (store.state.notice ? html`<p class="notice" role="status">${store.state.notice}</p>` : nothing),
    view() {
      const { dialog } = store.state;
      if (dialog.kind === "none") return nothing;
      return dialog.kind === "secret" ? secretDialog(dialog.key, dialog.stored, tell) : opened?.view();
    },
  };
}

/** A page for those who manage keys; others are told who can. @param {(parameters: Record<string, string>) => import("../pages.js").Page} page */
export function mayKeys(page) {
  /** @param {Record<string, string>} parameters @returns {import("../pages.js").Page} */
  return (parameters) =>
    roleMay(currentTeam()?.role, "keys:write")
      ? page(parameters)
      : {
          title: "Keys",
          view: () => html`<h1>Keys</h1>
            ${empty("Keys are for admins and owners", html`<p>${whyNot("keys:write")} Ask one of them for a key, or for another role.</p>`)}`,
        };
}
