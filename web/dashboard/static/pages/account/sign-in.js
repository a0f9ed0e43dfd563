// Sign-in, over whatever page the address means: afterwards that page is shown.
import { html, nothing } from "../../ui/lit.js";
import { href } from "../../core/location.js";
import { session, signIn } from "../../core/session.js";
import { createForm, field, submitButton } from "../../ui/form.js";

export function open() {
  const form = createForm(({ email, password }) => signIn(email, password));
  return {
    title: "Sign in",
    view: () => html`<h1>Sign in to Waybill</h1>
      ${session().expired ? html`<p role="status">Your session has ended. Sign in, and you are back where you were.</p>` : nothing}
      <form @submit=${form.submit}>
        ${form.problem(["email", "password"])}
        ${field(form, { name: "email", label: "E-mail", type: "email", autocomplete: "username" })}
        ${field(form, { name: "password", label: "Password", type: "password", autocomplete: "current-password" })}
        <p class="actions">${submitButton(form, "Sign in")}</p>
      </form>
      <p><a href=${href("/forgot")}>I forgot my password</a></p>
      <p><a href=${href("/sign-up")}>I have no account yet</a></p>`,
  };
}
