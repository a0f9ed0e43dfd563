// The one place that names the files of lit-html.
export { html, nothing, render, svg } from "../vendor/lit-html/lit-html.js";
export { repeat } from "../vendor/lit-html/directives/repeat.js";
export { live } from "../vendor/lit-html/directives/live.js";
export { keyed } from "../vendor/lit-html/directives/keyed.js";
