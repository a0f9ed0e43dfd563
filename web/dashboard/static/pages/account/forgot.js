// Asking for a new password.
import { html } from "../../ui/lit.js";
import { signal } from "../../vendor/signals-core/signals-core.js";
import { href } from "../../core/location.js";
import { post } from "../../core/session.js";
import { createForm, field, submitButton } from "../../ui/form.js";
import { onItsWay } from "./letter.js";

export function open() {
  const asked = signal(false);
  const form = createForm(async ({ email }) => {
    await post("/v1/auth/password/forgot", { email });
    asked.value = true;
  });
  const next = () => onItsWay(html`<p><a href=${href("/reset")}>I have the token</a></p>`);
  return {
    title: "Forgotten password",
    view: () => html`<h1>Set a new password</h1>
      ${asked.value
        ? next()
        : html`<form @submit=${form.submit}>
            ${form.problem(["email"])} ${field(form, { name: "email", label: "E-mail", type: "email", autocomplete: "username" })}
            <p class="actions">${submitButton(form, "Ask for a letter")}</p>
          </form>`}
      <p><a href=${href("/")}>Back to sign-in</a></p>`,
  };
}
