// A new password, with the token of a letter.
import { html } from "../../ui/lit.js";
import { signal } from "../../vendor/signals-core/signals-core.js";
import { href } from "../../core/location.js";
import { post } from "../../core/session.js";
import { createForm, field, submitButton } from "../../ui/form.js";
import { tokenOfLetter } from "./letter.js";

export function open() {
  const token = tokenOfLetter();
  const done = signal(false);
  const form = createForm(async ({ token: given, password }) => {
    await post("/v1/auth/password/reset", { token: given.trim(), password });
    done.value = true;
  });
  return {
    title: "New password",
    view: () => html`<h1>Set a new password</h1>
      ${done.value
        ? html`<p role="status"><strong>Your password is set.</strong> Everybody who was signed in to your account is signed out.</p>`
        : html`<form @submit=${form.submit}>
            ${form.problem(["token", "password"])} ${field(form, { name: "token", label: "Token of the letter", value: token })}
            ${field(form, { name: "password", label: "New password", type: "password", autocomplete: "new-password", hint: "At least 8 bytes, none of the most common ones." })}
            <p class="actions">${submitButton(form, "Set the password")}</p>
          </form>`}
      <p><a href=${href("/")}>Go to sign-in</a></p>`,
  };
}
