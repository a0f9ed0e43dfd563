// A form that sends one request: while it is under way, when it is refused, and what it says beside its fields.
import { html, nothing } from "./lit.js";
import { Failure } from "../core/failure.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { failurePanel, fieldError } from "./failure.js";

/** @param {(values: Record<string, string>, form: HTMLFormElement) => Promise<void>} send */
export function createForm(send) {
  const busy = signal(false);
  /** @type {{value: Failure | null, peek(): Failure | null}} */
  const failed = signal(null);

  async function submit(event) {
    event.preventDefault();
    if (busy.peek()) return;
    const form = event.currentTarget;
    const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
    busy.value = true;
    failed.value = null;
    try {
      await send(values, form);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      failed.value = error;
      const field = error.field ? form.elements.namedItem(error.field) : null;
      if (field instanceof HTMLElement) field.focus();
    } finally {
      busy.value = false;
    }
  }

  return {
    submit,
    get busy() {
      return busy.value;
    },
    get failure() {
      return failed.value;
    },
    /** What is not about a field that the form has. @param {string[]} fields */
    problem: (fields) => (failed.value?.field && fields.includes(failed.value.field) ? nothing : failurePanel(failed.value)),
  };
}

/**
 * @param {ReturnType<typeof createForm>} form
 * @param {{name: string, label: string, type?: string, autocomplete?: string, hint?: string, required?: boolean, value?: string}} what
 */
export function field(form, { name, label, type = "text", autocomplete = "off", hint, required = true, value = "" }) {
  const wrong = form.failure?.field === name;
  const described = [hint ? `hint-${name}` : "", wrong ? `error-${name}` : ""].filter(Boolean).join(" ");
  return html`<div class="field">
    <label for=${name}>${label}</label>
    <input
      id=${name}
      name=${name}
      type=${type}
      autocomplete=${autocomplete}
      ?required=${required}
      value=${value}
      aria-invalid=${wrong ? "true" : nothing}
      aria-describedby=${described || nothing}
    />
    ${hint ? html`<p class="hint" id=${`hint-${name}`}>${hint}</p>` : nothing} ${fieldError(form.failure, name)}
  </div>`;
}

/** @param {ReturnType<typeof createForm>} form @param {string} label */
export function submitButton(form, label) {
  return html`<button type="submit" class="primary" ?disabled=${form.busy}>${form.busy ? "Asked…" : label}</button>`;
}
