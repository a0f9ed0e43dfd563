// What the team uses: of each limit how much is taken, and which days and keys the requests are of.
import { actorName, createReading, currentTeam, empty, environment, get, href, html, loaded, nothing, number, table, time } from "../../kit.js";

/** What the plan counts, where its things are, and what happens at the end of a limit. @type {[string, string, string, string][]} */
const COUNTED = [
  ["keys", "API keys", "/keys", "one more is refused"],
  ["members", "Members", "/team", "one more invitation is refused"],
  ["tokens", "Credentials of the vault", "/vault", "one more is refused"],
];

/** How much of a limit is used. @param {string} label @param {number} used @param {number | undefined} limit */
function bar(label, used, limit) {
  if (limit === undefined) return html`${number(used)}, without a limit`;
  return html`<meter aria-label=${label} min="0" max=${limit} high=${limit * 0.9} optimum="0" value=${used}></meter> ${number(used)} of ${number(limit)}`;
}

export function open() {
  const team = `/teams/${currentTeam()?.id}`;
  const paths = [`${team}/plan`, `${team}/usage`];
  const reading = createReading({
    page: "/usage",
    path: () => paths[1],
    rarer: 5,
    async read(signal) {
      const [{ plan }, { usage }] = await Promise.all(paths.map((path) => get(path, { signal })));
      return { plan, used: usage[environment()] };
    },
  });
  return {
    title: "Usage",
    requests: () => paths.map((path) => ({ method: "GET", path })),
    view: () => html`<h1>Usage</h1>
      ${loaded(reading.loader, ({ plan, used }) => {
        const { days, months, keys } = used.requests;
        const most = Math.max(1, ...days.map(({ count }) => count));
        return html`<h2>Plan ${plan.name}</h2>
          <dl class="terms">
            ${COUNTED.map(
              ([name, label, path, end]) => html`<div>
                <dt><a href=${href(path)}>${label}</a></dt>
                <dd>${bar(label, plan[name].used, plan[name].limit)}${plan[name].limit === undefined ? nothing : html` <span class="fine">at the end, ${end}</span>`}</dd>
              </div>`,
            )}
            ${plan.policies.map(
              (policy) => html`<div><dt>${policy.name}</dt><dd>${number(policy.quota)} requests in ${number(policy.windowSeconds)} s for each ${policy.scope} <span class="fine">more get 429</span></dd></div>`,
            )}
          </dl>
          <h2>Requests of this environment</h2>
          ${days.length === 0
            ? empty("No request was counted yet", html`<p>Counts are written about once a minute.</p>`)
            : html`${table(
                  "Requests by day",
                  ["Day", "Requests", "Of the busiest day"],
                  days.map(({ period, count }) => html`<tr><th scope="row">${period}</th><td>${number(count)}</td><td><meter aria-label=${`Requests of ${period}`} min="0" max=${most} value=${count}></meter></td></tr>`),
                )}
                <p class="fine">By month: ${months.map(({ period, count }) => `${period}: ${number(count)}`).join(", ")}.</p>`}
          ${keys.length > 0
            ? table(
                "Requests by key",
                ["Key", "Requests", "Last"],
                keys.map(
                  ({ keyId, count, lastUsedAt }) => html`<tr>
                    <th scope="row"><a href=${href("/activity", { actor: `key:${keyId}` })} title="What it did">${actorName(`key:${keyId}`)}</a></th><td>${number(count)}</td><td>${time(lastUsedAt)}</td>
                  </tr>`,
                ),
              )
            : nothing}`;
      })}`,
    dispose: reading.dispose,
  };
}
