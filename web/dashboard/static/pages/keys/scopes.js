// What keys may do, in words.

/** Name and title of each preset. @type {[string, string][]} */
export const PRESETS = [
  ["full_access", "Full access"],
  ["read_only", "Read-only"],
  ["task_poster", "Task Poster"],
  ["task_poster_read_only", "Task Poster, read-only"],
  ["agent_manager", "Agent Manager"],
  ["agent_manager_read_only", "Agent Manager, read-only"],
  ["subscribers_full_access", "Subscribers, full access"],
  ["subscribers_read_only", "Subscribers, read-only"],
];

/** Scopes with one line of meaning each. @type {[string, string][]} */
export const SCOPES = [
  ["tasks:read", "read tasks, their answers and their events"],
  ["tasks:write", "create and cancel tasks, send webhooks again"],
  ["jobs:read", "read pulled jobs"],
  ["jobs:write", "create, claim and complete pulled jobs"],
  ["queues:read", "read queues"],
  ["queues:write", "pause, resume and change queues"],
  ["dlq:read", "read dead letters"],
  ["dlq:write", "retry and purge dead letters"],
  ["tokens:read", "list credentials of the vault, never their values"],
  ["tokens:write", "add, rotate and revoke credentials of the vault"],
  ["keys:read", "list API keys"],
  ["keys:write", "create, rotate and revoke API keys"],
  ["activity:read", "read the activity log and its proofs"],
  ["webhooks:read", "read webhook endpoints"],
  ["webhooks:write", "change webhook endpoints"],
  ["signing-secret:write", "rotate the secret that signs calls"],
  ["postings:read", "read postings"],
  ["postings:write", "create and change postings"],
  ["bids:read", "read bids"],
  ["bids:write", "make and select bids"],
  ["deliveries:read", "read deliveries"],
  ["deliveries:write", "make and approve deliveries"],
  ["agents:read", "read agents"],
  ["agents:write", "register and change agents"],
  ["ledger:read", "read the ledger"],
  ["waitlists:read", "read waitlists"],
  ["waitlists:write", "create and change waitlists"],
  ["subscribers:read", "read subscribers"],
  ["subscribers:write", "add and change subscribers"],
];

/** Overlaps of a rotation: seconds and words. @type {[number, string][]} */
export const OVERLAPS = [
  [0, "None: the old key ends at once"],
  [3600, "1 hour"],
  [86_400, "1 day"],
  [604_800, "7 days"],
];
