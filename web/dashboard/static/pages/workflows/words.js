// Workflows in words.
import { counted, number } from "../../ui/words.js";

export const STATUSES = ["pending", "running", "completed", "failed", "cancelled"];

/** How far one has come. @param {{total: number, pending: number, processing: number, completed: number, failed: number, cancelled: number}} progress */
export function progressWords({ total, pending, processing, completed, failed, cancelled }) {
  const parts = [[processing, "running"], [pending, "waiting"], [failed, "failed"], [cancelled, "cancelled"]].filter(([count]) => count);
  return [`${number(completed)} of ${counted(total, "task")} completed`, ...parts.map(([count, word]) => `${number(Number(count))} ${word}`)].join(", ");
}

/** What it is called. @param {{id: string, name: string | null}} workflow */
export const nameOf = ({ id, name }) => name || `…${id.slice(-10)}`;

/** Why a task of it has not begun, or how it ended. @param {{status: string, runAfter: string[], runAfterMode: string, endReason: string | null, error: string | null, retry: number}} task @param {Map<string, string>} statuses Of all tasks, by name. */
export function remark({ status, runAfter, runAfterMode, error, retry }, statuses) {
  const open = runAfter.filter((name) => statuses.get(name) !== "completed");
  const waits = status === "pending" && open.length > 0 && (runAfterMode === "all" || open.length === runAfter.length);
  return [
    waits && `Waits for ${runAfterMode === "any" ? "any of " : ""}${open.slice(0, 5).join(", ")}${open.length > 5 ? ` and ${number(open.length - 5)} more` : ""}.`,
    retry > 0 && `Made by retry ${retry}.`,
    error,
  ].filter(Boolean).join(" ");
}
