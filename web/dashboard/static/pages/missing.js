// An address that is no page.
import { html } from "../ui/lit.js";
import { href } from "../core/location.js";
import { empty } from "../ui/state.js";

/** @param {Record<string, string>} parameters */
export function open({ path }) {
  return {
    title: "No such page",
    view: () => html`<h1>No such page</h1>
      ${empty(`There is no page ${path}`, html`<p><a href=${href("/")}>Go to the overview</a></p>`)}`,
  };
}
