// A new team, which needs only a name. Whoever has none is led here first.
import { createForm, field, go, href, html, nothing, readMe, request, session, submitButton, teamAddress } from "../../kit.js";

export function open() {
  const form = createForm(async ({ name }) => {
    const { team } = await request({ method: "POST", path: "/teams", body: { name } });
    await readMe();
    go(teamAddress(team.id));
  });
  return {
    title: "New team",
    view: () => {
      const isFirst = (session().me?.teams.length ?? 0) === 0;
      return html`<h1>${isFirst ? "Your first team" : "New team"}</h1>
        <p>Tasks and keys belong to a team. You are its owner, and can invite others later.</p>
        <form @submit=${form.submit}>
          ${form.problem(["name"])} ${field(form, { name: "name", label: "Name of the team" })}
          <p class="actions">${submitButton(form, "Make the team")}</p>
        </form>
        ${isFirst ? html`<p>You were invited to one? <a href=${href("/join")}>Join it with the token of the invitation</a></p>` : nothing}`;
    },
  };
}
