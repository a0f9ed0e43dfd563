// The time as pages show it: one signal for all of them, which moves once a second while the page is seen.
import { signal } from "../vendor/signals-core/signals-core.js";

const ticking = signal(Date.now());

setInterval(() => {
  if (!document.hidden) ticking.value = Date.now();
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) ticking.value = Date.now();
});

/** Milliseconds since 1970; a view that reads it is drawn again every second. */
export function now() {
  return ticking.value;
}
