// Saved views of a list: its filters under a name, of the team or one's own.
import { html, nothing } from "./lit.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { get, request } from "../core/api.js";
import { createLoader } from "../core/loader.js";
import { href } from "../core/location.js";
import { whyNot } from "../core/team.js";
import { announce } from "./announce.js";
import { createAction } from "./action.js";
import { dialog } from "./dialog.js";
import { failurePanel } from "./failure.js";
import { createForm, field, submitButton } from "./form.js";
import { icon } from "./icon.js";

const PATH = "/v1/views";
const SCOPE = "tasks:write";

/** The filters of a view, and those of the page, as one text each, whatever their order. @param {Record<string, string>} filters */
const told = (filters) => new URLSearchParams(Object.entries(filters).sort(([one], [other]) => (one < other ? -1 : 1))).toString();
/** @param {string} query @returns {Record<string, string>} */
export const filtersOf = (query) => Object.fromEntries(new URLSearchParams(query));
/** @param {string} query @param {Record<string, string>} filters */
export const isShown = (query, filters) => told(filtersOf(query)) === told(filters);

/**
 * @param {object} what
 * @param {string} what.list The list as the API names it.
 * @param {string} what.page The path of its page.
 * @param {() => Record<string, string>} what.filters Those that are set now.
 */
export function createViews({ list, page, filters }) {
  const loader = createLoader((stop) => get(PATH, { signal: stop }));
  /** @type {{value: {view: () => unknown} | null}} */
  const opened = signal(null);
  const close = () => {
    opened.value = null;
  };
  void loader.load();
  /** @returns {any[]} */
  const views = () => (loader.state.data?.views ?? []).filter((view) => view.page === list);

  function save() {
    const form = createForm(async ({ name, of }) => {
      await request({ method: "POST", path: PATH, body: { page: list, name, query: told(filters()), shared: of === "team" } });
      close();
      announce("The view is saved");
      void loader.load();
    });
    opened.value = {
      view: () =>
        dialog({
          id: "save-view",
          title: "Save this view",
          close,
          body: html`<form @submit=${form.submit}>
            ${form.problem(["name"])}
            <p>Its filters, under a name. A view of the same name is saved over.</p>
            ${field(form, { name: "name", label: "Name" })}
            <div class="field">
              <label for="of">Who has it</label>
              <select id="of" name="of"><option value="me">I alone</option><option value="team">The team</option></select>
            </div>
            <p class="actions">${submitButton(form, "Save it")} <button type="button" @click=${close}>Cancel</button></p>
          </form>`,
        }),
    };
  }

  function manage() {
    const removals = new Map(
      views().map(({ id }) => [
        id,
        createAction({
          label: "Delete",
          icon: "trash-2",
          scope: SCOPE,
          danger: true,
          done: "Deleted",
          async act() {
            await request({ method: "DELETE", path: `${PATH}/${id}` });
            await loader.load();
          },
        }),
      ]),
    );
    opened.value = {
      view: () =>
        dialog({
          id: "views",
          title: "Saved views",
          close,
          body: html`<ul>
              ${views().map((view) => html`<li>${view.name}, ${view.shared ? "of the team" : "yours"} ${removals.get(view.id)?.view()} ${removals.get(view.id)?.problem()}</li>`)}
            </ul>
            ${views().length === 0 ? html`<p>None is left.</p>` : nothing}
            <p class="actions"><button type="button" @click=${close}>Close</button></p>`,
        }),
    };
  }

  return {
    /** @type {import("../core/api.js").Call} */
    request: { method: "GET", path: PATH },
    view() {
      const barred = whyNot(SCOPE);
      const now = filters();
      const isSet = Object.keys(now).length > 0;
      const all = views();
      return html`${all.length > 0 || isSet
          ? html`<p class="chips views">
              ${all.map(({ name, query }) => html`<a class="button chip" aria-current=${isShown(query, now) ? "true" : nothing} href=${href(page, filtersOf(query))}>${name}</a>`)}
              ${isSet ? html`<button type="button" class="quiet small" title=${barred || nothing} ?disabled=${barred !== ""} @click=${save}>${icon("plus")}Save this view</button>` : nothing}
              ${all.length > 0 ? html`<button type="button" class="quiet small" @click=${manage}>${icon("pencil")}Saved views</button>` : nothing}
            </p>`
          : nothing}
        ${failurePanel(loader.state.failure)} ${opened.value?.view() ?? nothing}`;
    },
    dispose: loader.dispose,
  };
}
