// Confirming an address: the token of the letter, and a password.
import { html } from "../../ui/lit.js";
import { go, href } from "../../core/location.js";
import { confirmAddress } from "../../core/session.js";
import { createForm, field, submitButton } from "../../ui/form.js";
import { tokenOfLetter } from "./letter.js";

export function open() {
  const token = tokenOfLetter();
  const form = createForm(async ({ token: given, password, name }) => {
    await confirmAddress({ token: given.trim(), password, ...(name ? { name } : {}) });
    go(href("/"), { replace: true });
  });
  return {
    title: "Confirm your address",
    view: () => html`<h1>Confirm your address</h1>
      <form @submit=${form.submit}>
        ${form.problem(["token", "password", "name"])} ${field(form, { name: "token", label: "Token of the letter", value: token })}
        ${field(form, { name: "name", label: "Your name", autocomplete: "name", required: false, hint: "As others see it." })}
        ${field(form, { name: "password", label: "Password", type: "password", autocomplete: "new-password", hint: "At least 8 bytes, none of the most common ones." })}
        <p class="actions">${submitButton(form, "Confirm and sign in")}</p>
      </form>
      <p><a href=${href("/")}>Back to sign-in</a></p>`,
  };
}
