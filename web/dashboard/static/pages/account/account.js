// Signing in and up, and what the links of letters lead to: confirming an address, a new password, joining a team.
import { html, nothing } from "../../ui/lit.js";
import { request } from "../../core/api.js";
import { dropHash, go, here, href } from "../../core/location.js";
import { confirmAddress, post, readMe, session, signIn } from "../../core/session.js";
import { teamAddress } from "../../core/team.js";
import { createForm, field, submitButton } from "../../ui/form.js";
import { signal } from "../../vendor/signals-core/signals-core.js";

/** The token in the fragment of the address, where letters put it so that no server sees it. */
function tokenOfLetter() {
  const token = new URLSearchParams(here().hash).get("token") ?? "";
  // It is in the form now, and has no place in the history of the browser.
  if (token) dropHash();
  return token;
}

/** @param {unknown} next */
function onItsWay(next) {
  return html`<div class="empty" role="status">
    <p><strong>If that can be done, a letter is on its way.</strong></p>
    <p>It holds a token. Where Waybill has no mail server (<code>waybill up</code> on your own machine), the letter stands in its log.</p>
    ${next}
  </div>`;
}

/** Sign-in, over whatever page the address means: afterwards that page is shown. */
export function entry() {
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

/** Asking for an account. */
export function signUp() {
  const asked = signal(false);
  const form = createForm(async ({ email }) => {
    await post("/v1/auth/signup", { email });
    asked.value = true;
  });
  const next = () => onItsWay(html`<p><a href=${href("/confirm")}>I have the token</a></p>`);
  return {
    title: "Sign up",
    view: () => html`<h1>Sign up</h1>
      ${asked.value
        ? next()
        : html`<form @submit=${form.submit}>
            ${form.problem(["email"])} ${field(form, { name: "email", label: "E-mail", type: "email", autocomplete: "username" })}
            <p class="actions">${submitButton(form, "Ask for an account")}</p>
          </form>`}
      <p><a href=${href("/")}>Back to sign-in</a></p>`,
  };
}

/** Confirming an address: the token of the letter, and a password. */
export function confirm() {
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

/** Asking for a new password. */
export function forgot() {
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

/** A new password, with the token of a letter. */
export function reset() {
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

/** Joining a team, with the token of an invitation. */
export function join() {
  const token = tokenOfLetter();
  const form = createForm(async ({ token: given }) => {
    const { team } = await request({ method: "POST", path: "/v1/invitations/accept", body: { token: given.trim() } });
    await readMe();
    go(teamAddress(team.id), { replace: true });
  });
  return {
    title: "Join a team",
    view: () => html`<h1>Join a team</h1>
      <form @submit=${form.submit}>
        ${form.problem(["token"])} ${field(form, { name: "token", label: "Token of the invitation", value: token })}
        <p class="actions">${submitButton(form, "Join")}</p>
      </form>`,
  };
}
