// An entry of the activity as a sentence: who did what to what.

/** Verbs of what can happen; what a newer server adds is shown by its own name. @type {Record<string, string>} */
const VERBS = {
  "task.created": "created",
  "task.started": "began an attempt of",
  "task.attempt_failed": "saw an attempt fail of",
  "task.released": "gave back",
  "task.succeeded": "completed",
  "task.dead": "gave up",
  "task.expired": "let expire",
  "task.cancel_requested": "asked to cancel",
  "task.cancelled": "cancelled",
  "task.callback_sent": "delivered the webhook of",
  "task.callback_failed": "could not deliver the webhook of",
  "task.callback_requested": "asked to send again the webhook of",
  "task.run_requested": "asked to run at once",
  "task.purged": "removed from the dead letters",
  "task.priority_changed": "got another priority",
  "task.limit_paused": "paused a limit, as its target asked",
  "task.target_disabled": "was the last try at a host that only fails",
  "task.unblocked": "no longer blocks those behind it",
  "task.restated": "stated again",
  "key.created": "created",
  "key.rotated": "rotated",
  "key.revoked": "revoked",
  "key.reported": "reported as found in the open",
  "team.created": "created",
  "team.renamed": "renamed",
  "team.deleted": "deleted",
  "team.plan_changed": "changed the plan of",
  "team.leak_policy_changed": "changed the leak policy of",
  "team.vault_policy_changed": "changed the vault policy of",
  "team.task_defaults_changed": "changed the task defaults of",
  "team.signing_secret_rotated": "rotated the signing secret of",
  "member.joined": "joined as",
  "member.removed": "removed",
  "member.role_changed": "changed the role of",
  "invitation.sent": "sent",
  "invitation.accepted": "accepted",
  "invitation.withdrawn": "withdrew",
  "session.started": "began",
  "session.refreshed": "went on with",
  "session.ended": "ended",
  "token.created": "added",
  "token.rotated": "rotated",
  "token.revoked": "revoked",
  "token.shredded": "destroyed",
  "token.used": "used",
  "app.created": "registered",
  "app.changed": "changed",
  "app.removed": "removed",
  "app.secret_rotated": "rotated the secret of",
  "grant.asked": "asked for",
  "grant.given": "gave",
  "grant.revoked": "withdrew",
  "queue.paused": "paused",
  "queue.resumed": "resumed",
  "queue.limited": "limited",
  "queue.defaults_changed": "changed the defaults of",
  "limit.set": "set",
  "limit.paused": "paused",
  "limit.resumed": "resumed",
  "target.health_set": "changed the rule of",
  "view.saved": "saved the view",
  "view.deleted": "deleted the view",
  "worker.drained": "drained",
  "worker.resumed": "gave tasks again to",
  "listener.opened": "opened",
  "listener.released": "released",
  "listener.removed": "removed",
  "target.opened": "opened",
  "target.closed": "closed",
  "operation.created": "began",
  "operation.paused": "paused",
  "operation.resumed": "resumed",
  "operation.cancelled": "cancelled",
  "operation.ended": "completed",
  "schedule.set": "set",
  "schedule.paused": "paused",
  "schedule.resumed": "resumed",
  "schedule.deleted": "deleted",
  "schedule.settled": "told what became of runs of",
  "user.confirmed": "confirmed",
  "user.renamed": "renamed",
  "team.payload_policy_changed": "changed who sees bodies in",
  "user.sign_in_link_made": "made a sign-in link for",
  "user.sign_in_link_used": "used the sign-in link of",
  "user.password_changed": "changed the password of",
};

/** @param {string} type */
function verb(type) {
  return VERBS[type] ?? `did ${type.replaceAll("_", " ")} to`;
}

/** Who did it, as they were called then. @param {any} entry */
export function who(entry) {
  return entry.actorName ?? entry.actorEmail ?? entry.actor;
}

/** @param {any} entry */
export function what(entry) {
  if (entry.outcome === "refused") {
    const times = entry.refusal?.count > 1 ? `, ${entry.refusal.count} times` : "";
    return `was refused (${entry.refusal?.code ?? "unknown"}${times})`;
  }
  return verb(entry.type);
}

/** @param {any} entry @returns {{kind: string, name: string, id: string} | null} */
export function toWhat(entry) {
  if (!entry.target) return null;
  const { kind, id, name } = entry.target;
  return { kind, name: name ?? id, id };
}
