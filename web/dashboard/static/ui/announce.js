// Says things to screen readers: politely, and at most one message in five seconds.
const PAUSE = 5000;
let last = 0;
let waiting = "";
let timer = 0;

/** @param {string} text */
export function announce(text) {
  waiting = text;
  if (timer) return;
  timer = setTimeout(say, Math.max(0, last + PAUSE - Date.now()));
}

function say() {
  timer = 0;
  last = Date.now();
  const region = document.getElementById("announcer");
  if (region) region.textContent = waiting;
}
