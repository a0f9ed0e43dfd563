// Every shortcut, and the switches of a person: theme, times, shortcuts.
import { html } from "../ui/lit.js";
import { allShortcuts } from "../core/shortcuts.js";
import { setTheme, shortcutsSetting, theme, times } from "../core/settings.js";
import { dialog } from "../ui/dialog.js";

/** @param {string} label @param {{value: string}} setting @param {[string, string][]} choices @param {(value: string) => void} set */
function choice(label, setting, choices, set) {
  return html`<label
    >${label}
    <select @change=${(event) => set(event.target.value)}>
      ${choices.map(([value, text]) => html`<option value=${value} ?selected=${setting.value === value}>${text}</option>`)}
    </select>
  </label>`;
}

/** @param {() => void} close */
export function helpDialog(close) {
  const body = html`
    <div class="settings">
      ${choice("Theme", theme, [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]], setTheme)}
      ${choice("Times", times, [["relative", "Relative: 3 s ago"], ["exact", "Exact: 14:02:11"]], times.set)}
      ${choice("Keyboard shortcuts", shortcutsSetting, [["on", "On"], ["off", "Off"]], shortcutsSetting.set)}
    </div>
    ${allShortcuts().map(
      ([group, shortcuts]) => html`<h3>${group}</h3>
        <dl class="keys">${shortcuts.map(({ keys, what }) => html`<div><dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl>`,
    )}
    <p class="actions"><button type="button" @click=${close}>Close</button></p>
  `;
  return dialog({ id: "help", title: "Help and settings", body, close });
}
