// What people do to a host: open it, so that nothing starts there, and close it again.
import { createAction, html, request } from "../../kit.js";
import { pauseBody, pauseFields } from "../queues/change.js";

export const WRITE = "queues:write";

/** @param {string} host @param {string} what */
const pathOf = (host, what) => `/v1/targets/${encodeURIComponent(host)}/${what}`;

/** What `fill` of an inventory takes to open a host. @param {string} host */
export const openForm = (host) => ({
  title: `Open ${host}`,
  label: "Open it",
  names: ["reason", "until"],
  fields: (form) => html`<p>No attempt starts there any more, not even a probe. What runs goes on; tasks are accepted, wait without using up a retry, and still end by their deadlines. Only closing it or its end lets them go.</p>${pauseFields(form, "host")}`,
  send: (values) => request({ method: "POST", path: pathOf(host, "open"), body: pauseBody(values) }),
});

/** Closing a host: what failed until now counts no more. @param {string} host @param {() => void} done */
export const closeAction = (host, done) =>
  createAction({
    label: "Close",
    icon: "play",
    scope: WRITE,
    done: "Closed",
    async act() {
      await request({ method: "POST", path: pathOf(host, "close") });
      done();
    },
  });

/** Whether closing it lets something go. @param {any} target */
export const isHeld = ({ opened, health }) => Boolean(opened || health?.disabled || (health && health.state !== "closed"));
