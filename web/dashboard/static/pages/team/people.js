// Who is in the team and what each may do, who is invited, and where oneself is signed in.
import {
  createInventory, currentTeam, field, get, go, href, html, icon, nothing, readMe, repeat, request, ROLES, rowButton, session, signOut, table, time,
  whyNot,
} from "../../kit.js";

/** What each role may do. @type {Record<string, string>} */
const MEANS = {
  viewer: "sees everything and changes nothing",
  member: "also sends, cancels and retries tasks, and pauses queues",
  admin: "also manages keys, applications, members and invitations",
  owner: "also changes owners, and deletes the team",
};

export function open() {
  const team = currentTeam();
  const path = `/teams/${team?.id}`;
  // Read anew each time: it may be renamed on this very page.
  const name = () => currentTeam()?.name ?? "";
  const me = session().me?.user.id;
  const isAdmin = whyNot("admin") === "";
  const paths = [`${path}/members`, ...(isAdmin ? [`${path}/invitations`] : []), "/v1/auth/sessions"];
  const list = createInventory({
    page: "/team",
    path: () => paths[0],
    async read(signal) {
      const answers = await Promise.all(paths.map((one) => get(one, { signal })));
      return Object.assign({ invitations: [] }, ...answers);
    },
    rowsOf: ({ members, invitations, sessions }) => [...members, ...invitations, ...sessions],
    types: ["member.", "invitation.", "session.", "team."],
    noun: "entry",
    plural: "entries",
  });

  const roleField = (role) => html`<div class="field">
    <label for="role">Role</label>
    <select id="role" name="role">${ROLES.map((name) => html`<option value=${name} ?selected=${name === role}>${name}: ${MEANS[name]}</option>`)}</select>
  </div>`;
  const invite = () =>
    // Whoever came by a link has no address yet, and nobody could tell who invites them.
    session().me?.user.needsAddress
      ? go(href("/address"))
      : list.fill({
          title: "Invite somebody",
          label: "Send the invitation",
          names: ["email"],
          fields: (form) => html`${field(form, { name: "email", label: "E-mail", type: "email" })} ${roleField("member")}`,
          send: (body) => request({ method: "POST", path: `${path}/invitations`, body }),
        });
  const changeRole = (member) =>
    list.fill({
      title: `Role of ${member.name ?? member.email}`,
      label: "Change the role",
      names: [],
      fields: () => roleField(member.role),
      async send(body) {
        await request({ method: "PATCH", path: `${path}/members/${member.id}`, body });
        if (member.id === me) await readMe();
      },
    });
  const remove = (member) => {
    const isMe = member.id === me;
    list.ask({
      title: isMe ? "Leave the team?" : `Remove ${member.name ?? member.email}?`,
      body: html`<p>${isMe ? "You see" : "They see"} nothing of ${name()} any more. The team's keys work on.</p>`,
      label: isMe ? "Leave" : "Remove",
      shape: "trash-2",
      scope: isMe ? "viewer" : "admin",
      async act() {
        await request({ method: "DELETE", path: `${path}/members/${member.id}` });
        if (!isMe) return false;
        await readMe();
        go(href("/", { team: undefined }));
        return true;
      },
    });
  };
  const rename = () =>
    list.fill({
      title: "Rename the team",
      label: "Rename",
      names: ["name"],
      fields: (form) => field(form, { name: "name", label: "Name of the team", value: name() }),
      async send(body) {
        await request({ method: "PATCH", path, body });
        await readMe();
      },
    });
  const erase = () =>
    list.ask({
      title: "Delete the team?",
      body: html`<p><strong>This cannot be undone.</strong> Nobody belongs to it any more, its keys and applications are refused, and its vault is erased. Open tasks run on, without anything from the vault.</p>`,
      label: "Delete the team for good",
      shape: "trash-2",
      scope: "owner",
      typed: name(),
      async act() {
        await request({ method: "DELETE", path: `${path}?confirm=${encodeURIComponent(name())}` });
        await readMe();
        go(href("/", { team: undefined }));
        return true;
      },
    });

  const bodies = async () => {
    const { viewersSeePayloads } = (await get(path)).team;
    list.fill({
      title: "Who sees the bodies and headers of tasks?",
      label: "Change it",
      names: [],
      fields: () => html`<div class="field">
        <label for="viewers">Viewers</label>
        <select id="viewers" name="viewers"><option value="no">do not see them</option><option value="yes" ?selected=${viewersSeePayloads}>see them</option></select>
        <p class="hint">Everybody else does, and keys and applications that read tasks.</p>
      </div>`,
      send: ({ viewers }) => request({ method: "PUT", path: `${path}/payload-policy`, body: { viewersSeePayloads: viewers === "yes" } }),
    });
  };

  const credentials = async () => {
    const { leakPolicy, sealedHeaders, requireAllowedHosts } = (await get(path)).team;
    const choice = (name, label, options, value, hint) => html`<div class="field">
      <label for=${name}>${label}</label>
      <select id=${name} name=${name}>${options.map(([option, words]) => html`<option value=${option} ?selected=${option === value}>${words}</option>`)}</select>
      <p class="hint">${hint}</p>
    </div>`;
    list.fill({
      title: "Leaked keys and the vault",
      label: "Change it",
      names: ["sealedHeaders"],
      fields: (form) => html`${choice("leak", "A key that is found in the open", [["revoke", "is revoked at once"], ["warn", "is told to owners and admins"]], leakPolicy, "Partners who look for keys report them.")}
        ${choice("hosts", "New credentials of the vault", [["no", "may be for any host"], ["yes", "must name their hosts"]], requireAllowedHosts ? "yes" : "no", "A credential with hosts is sent nowhere else.")}
        ${field(form, { name: "sealedHeaders", label: "Headers that are sealed, too", required: false, value: sealedHeaders.join(", "), hint: "Beside Authorization, Cookie, Proxy-Authorization and X-Api-Key; separated by commas, at most 20." })}`,
      async send({ leak, hosts, sealedHeaders: given }) {
        await request({ method: "PUT", path: `${path}/vault-policy`, body: { sealedHeaders: given.split(/[\s,]+/).filter(Boolean), requireAllowedHosts: hosts === "yes" } });
        if (leak !== leakPolicy) await request({ method: "PUT", path: `${path}/leak-policy`, body: { leakPolicy: leak } });
      },
    });
  };

  const member = (one) => html`<tr data-row=${one.id}>
    <th scope="row"><a class="row-link" href=${href("/activity", { actor: `user:${one.id}` })} title="What they did">${one.name ?? one.email}</a>${one.id === me ? " (you)" : ""}</th>
    <td>${one.email}</td>
    <td><span title=${MEANS[one.role]}>${one.role}</span></td>
    <td>${time(one.since)}</td>
    <td>
      ${rowButton("users", "Change role", `of ${one.name ?? one.email}`, "admin", () => changeRole(one))}
      ${one.id === me ? rowButton("log-out", "Leave", "the team", "", () => remove(one)) : rowButton("trash-2", "Remove", one.name ?? one.email, "admin", () => remove(one))}
    </td>
  </tr>`;
  const invitation = (one) => html`<tr data-row=${one.id}>
    <th scope="row">${one.email}</th>
    <td>${one.role}</td>
    <td>${one.status}</td>
    <td>${time(one.sentAt)}</td>
    <td>${time(one.expiresAt)}</td>
    <td>
      ${rowButton("trash-2", "Withdraw", `the invitation of ${one.email}`, "admin", () =>
        list.ask({
          title: `Withdraw the invitation of ${one.email}?`,
          body: html`<p>Its letter lets nobody in any more.</p>`,
          label: "Withdraw",
          shape: "trash-2",
          scope: "admin",
          act: () => request({ method: "DELETE", path: `${path}/invitations/${one.id}` }),
        }))}
    </td>
  </tr>`;
  const mine = (one) => html`<tr data-row=${one.id}>
    <th scope="row">${one.current ? html`<strong>this one</strong>` : html`<code>…${one.id.slice(-6)}</code>`}</th>
    <td>${one.source}</td>
    <td class="target" title=${one.agent ?? ""}>${one.agent ?? "unknown"}</td>
    <td>${one.method}</td>
    <td>${time(one.createdAt)}</td>
    <td>${time(one.usedAt)}</td>
    <td>
      ${one.current
        ? rowButton("log-out", "Sign out", "here", "", signOut)
        : rowButton("log-out", "End", `the session from ${one.source}`, "", () =>
            list.ask({
              title: "End that session?",
              body: html`<p>Whoever uses it is signed out at once.</p>`,
              label: "End it",
              shape: "log-out",
              scope: "viewer",
              act: () => request({ method: "DELETE", path: `/v1/auth/sessions/${one.id}` }),
            }))}
    </td>
  </tr>`;

  return {
    title: "Team",
    requests: () => paths.map((one) => ({ method: "GET", path: one })),
    actions: () => (isAdmin ? [["Invite somebody", invite, "user-plus"]] : []),
    view: () => html`<div class="title">
        <h1>Team ${name()}</h1>
        <span class="actions">
          <button type="button" ?disabled=${!isAdmin} @click=${rename}>Rename</button>
          <button type="button" ?disabled=${whyNot("owner") !== ""} @click=${bodies}>Who sees bodies…</button>
          <button type="button" ?disabled=${!isAdmin} @click=${credentials}>Leaked keys and the vault…</button>
          <button type="button" class="danger" ?disabled=${whyNot("owner") !== ""} @click=${erase}>${icon("trash-2")}Delete the team…</button>
          <button type="button" class="primary" ?disabled=${!isAdmin} @click=${invite}>${icon("user-plus")}Invite</button>
        </span>
      </div>
      ${isAdmin ? nothing : html`<p class="fine">${whyNot("admin")}</p>`}
      ${list.view((rows) => {
        const of = (prefix, view) => repeat(rows.filter(({ id }) => id.startsWith(prefix)), ({ id }) => id, view);
        return html`<h2>Members</h2>
          ${table("Members", ["Name", "E-mail", "Role", "Since", "Actions"], of("user_", member), ", oldest first")}
          ${isAdmin
            ? html`<h2>Invitations</h2>
                ${rows.some(({ id }) => id.startsWith("inv_")) ? table("Invitations", ["E-mail", "Role", "State", "Sent", "Ends", "Actions"], of("inv_", invitation)) : html`<p>Nobody is invited at the moment.</p>`}`
            : nothing}
          <h2>Your sessions</h2>
          ${table("Your sessions", ["Session", "From", "Program", "Signed in by", "Began", "Last used", "Actions"], of("ses_", mine), ", newest first")}`;
      })}`,
    dispose: list.dispose,
  };
}
