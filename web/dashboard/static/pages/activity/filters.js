// The filters of the activity: those that `GET /v1/activity` has, and the address holds them.

/** Filters that are texts: parameter, label, hint. @type {[string, string, string][]} */
export const TEXTS = [
  ["type", "What", "Begins with, such as key. or task.created"],
  ["actor", "Who", "key:key_…, user:user_… or its id"],
  ["target", "About", "Id of a task, key, member, team …"],
  ["source", "From", "An IP address"],
];
/** Filters with few values. @type {[string, string, string[]][]} */
export const CHOICES = [
  ["stream", "Log", ["control", "tasks"]],
  ["outcome", "Outcome", ["ok", "refused"]],
];
export const TIMES = ["after", "before"];
export const NAMES = [...TEXTS.map(([name]) => name), "taskId", ...CHOICES.map(([name]) => name), ...TIMES];
export const PAGE = 50;

/** Chips of what is often asked. @returns {[string, Record<string, string>][]} */
export function presets() {
  return [
    ["Everything", {}],
    ["Teams, people and keys", { stream: "control" }],
    ["Keys", { type: "key." }],
    ["Refused", { outcome: "refused" }],
  ];
}
