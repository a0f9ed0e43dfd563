// Signing in and up, and what links of letters and of the machine lead to: confirming an address, a new password, joining a team, signing in.
import {
  confirmAddress, createForm, dropHash, failurePanel, field, go, here, href, html, meta, nothing, post, readMe, request, session, signal, signIn,
  submitButton, teamAddress, useLink,
} from "../../kit.js";

/** The token in the fragment of the address, where letters and links put it so that no server sees it. */
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
  /** @param {string} who @param {boolean} letters */
  const help = (who, letters) => {
    if (!letters) return html`<p class="fine">No letters are sent here: for an account, or a new password, ask the operator.</p>`;
    const account = html`<p><a href=${href("/sign-up")}>I have no account yet</a></p>`;
    return html`<p><a href=${href("/forgot")}>I forgot my password</a></p>${who === "off" ? html`<p class="fine">Accounts are made by the operator here.</p>` : account}`;
  };
  return {
    title: "Sign in",
    view: () => {
      const { issuers, signUp: who, letters } = meta().signIn;
      return html`<h1>Sign in to Waybill</h1>
      ${session().expired ? html`<p role="status">Your session has ended. Sign in, and you are back where you were.</p>` : nothing}
      <form @submit=${form.submit}>
        ${form.problem(["email", "password"])}
        ${field(form, { name: "email", label: "E-mail", type: "email", autocomplete: "username" })}
        ${field(form, { name: "password", label: "Password", type: "password", autocomplete: "current-password" })}
        <p class="actions">${submitButton(form, "Sign in")}</p>
      </form>
      ${issuers.map(({ name, start }) => html`<p><a class="button" href=${start}>Sign in with ${name}</a></p>`)} ${help(who, letters)}`;
    },
  };
}

/** Back from an outside issuer. */
export function signedIn() {
  queueMicrotask(() => go(href("/"), { replace: true }));
  return { title: "Signed in", view: () => html`<p class="loading">Loading</p>` };
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

/** The link that `waybill up` and `waybill dashboard` print: it signs in once. */
export function link() {
  const token = tokenOfLetter();
  const failure = signal(/** @type {any} */ (null));
  if (token) {
    useLink(token).then(
      () => go(href("/"), { replace: true }),
      (refused) => {
        failure.value = refused;
      },
    );
  }
  return {
    title: "Sign-in link",
    view: () =>
      token && !failure.value
        ? html`<p class="loading" role="status">Signing in</p>`
        : html`<h1>Sign-in link</h1>
            ${failure.value ? failurePanel(failure.value) : html`<p>This address holds no token (any more).</p>`}
            <p>On the machine that Waybill runs on, <code>waybill dashboard</code> prints a fresh link, which signs in once, within 10 minutes.</p>
            <p><a href=${href("/")}>Go to the dashboard</a></p>`,
  };
}

/** Whoever came by a sign-in link gives an address and a password, before a second person is invited. */
export function address() {
  const form = createForm(async ({ email, password, name }) => {
    const body = { email, password, ...(name ? { name } : {}) };
    await request({ method: "POST", path: "/v1/me/address", body });
    await readMe();
    go(href("/team"), { replace: true });
  });
  return {
    title: "Your address",
    view: () => html`<h1>Your e-mail address and password</h1>
      ${session().me?.user.needsAddress
        ? html`<p>You came by a link. With an address and a password you sign in from anywhere, and can invite others.</p>
            <form @submit=${form.submit}>
              ${form.problem(["email", "password", "name"])}
              ${field(form, { name: "email", label: "E-mail", type: "email", autocomplete: "username" })}
              ${field(form, { name: "password", label: "Password", type: "password", autocomplete: "new-password", hint: "At least 8 bytes, none of the most common ones." })}
              ${field(form, { name: "name", label: "Your name", autocomplete: "name", required: false, hint: "As others see it." })}
              <p class="actions">${submitButton(form, "Set both")}</p>
            </form>`
        : html`<p>You have both.</p>`}`,
  };
}
