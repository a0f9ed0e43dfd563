// A button that asks the API to do something: it shows asked, then done or why not; and why the person may not, if so.
import { html, nothing } from "./lit.js";
import { Failure } from "../core/failure.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { whyNot } from "../core/team.js";
import { announce } from "./announce.js";
import { icon } from "./icon.js";
import { failurePanel } from "./failure.js";

/**
 * @param {{label: string, icon?: string, scope: string, done: string, act: () => Promise<void>, danger?: boolean, primary?: boolean, again?: boolean, barred?: () => string}} what `barred`: why it
 *   cannot be done now, whoever asks; empty when it can.
 *   `again`: it can be done several times.
 */
export function createAction({ label, icon: shape, scope, done, act, danger = false, primary = false, again = false, barred = () => "" }) {
  const phase = signal("ready");
  /** @type {{value: Failure | null, peek(): Failure | null}} */
  const failed = signal(null);

  async function press() {
    if (phase.peek() !== "ready" || whyNot(scope) || barred()) return;
    phase.value = "asked";
    failed.value = null;
    try {
      await act();
      phase.value = again ? "ready" : "done";
      announce(done);
    } catch (error) {
      phase.value = "ready";
      if (!(error instanceof Failure)) throw error;
      failed.value = error;
    }
  }

  return {
    press,
    get failure() {
      return failed.value;
    },
    view() {
      const reason = whyNot(scope) || barred();
      const words = { ready: label, asked: "Asked…", done }[phase.value];
      return html`<span class="action">
        <button type="button" class=${danger ? "danger" : primary ? "primary" : ""} ?disabled=${reason !== "" || phase.value !== "ready"} @click=${press}>${shape ? icon(shape) : nothing}${words}</button>
        ${reason ? html`<span class="fine">${reason}</span>` : nothing}
      </span>`;
    },
    problem: () => failurePanel(failed.value),
  };
}
