// Runs before the first paint, so that a page never flashes in the other theme.
"use strict";
(function () {
  let theme = null;
  try {
    theme = localStorage.getItem("waybill-theme");
  } catch {
    // Storage is switched off: the system's theme it is.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
