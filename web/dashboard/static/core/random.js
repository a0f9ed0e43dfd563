// Idempotency keys: a request that is sent again, because its answer was lost, must not do a second time what it did.

/** `crypto.randomUUID` exists on secure pages only. */
function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `dashboard-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Gives the same key for as long as the same is asked for. @returns {(body: object) => string} */
export function createRepeatKey() {
  let key = fresh();
  let asked = "";
  return (body) => {
    const text = JSON.stringify(body);
    if (asked && asked !== text) key = fresh();
    asked = text;
    return key;
  };
}
