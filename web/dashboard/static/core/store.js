// A page is a projector: what happens is an event, and `state' = reduce(state, event)`.
import { signal } from "../vendor/signals-core/signals-core.js";

/**
 * @template S, E
 * @param {(state: S, event: E) => S} reduce A pure function.
 * @param {S} initial
 */
export function createStore(reduce, initial) {
  const current = signal(initial);
  return {
    /** Reading it in a view makes the view follow it. */
    get state() {
      return current.value;
    },
    /** The state for code that must not follow it. */
    peek() {
      return current.peek();
    },
    /** @param {E} event */
    dispatch(event) {
      current.value = reduce(current.peek(), event);
    },
  };
}
