// Gathers what comes, and shows it at most once a frame. A hidden page paints no frames, and a few times a second is enough for it.

/** @param {(items: any[]) => void} show */
export function oncePerFrame(show) {
  /** @type {any[]} */
  let waiting = [];
  /** @type {(() => void) | null} */
  let cancel = null;

  function flush() {
    cancel?.();
    cancel = null;
    const items = waiting;
    waiting = [];
    show(items);
  }

  return {
    /** @param {any[]} items */
    add(items) {
      waiting.push(...items);
      if (cancel) return;
      const hidden = document.hidden;
      const timer = hidden ? setTimeout(flush, 250) : requestAnimationFrame(flush);
      cancel = () => (hidden ? clearTimeout(timer) : cancelAnimationFrame(timer));
    },
    /** Shows now what has come. */
    flush,
    /** Shows nothing more of what has come. */
    drop() {
      cancel?.();
      cancel = null;
      waiting = [];
    },
  };
}
