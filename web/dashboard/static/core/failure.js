// What the API says when it refuses, as every page shows it.

/** A request that was refused, or that nobody answered. */
export class Failure extends Error {
  /**
   * @param {{status: number, code: string, message: string, field?: string, requestId?: string, retryAfter?: number, violated?: string[], keyId?: string}} told
   */
  constructor(told) {
    super(told.message);
    this.name = "Failure";
    /** HTTP status; 0 when there was no answer. */
    this.status = told.status;
    this.code = told.code;
    this.field = told.field;
    this.requestId = told.requestId;
    /** When it is worth another try, in milliseconds since 1970. */
    this.retryAt = told.retryAfter === undefined ? undefined : Date.now() + told.retryAfter * 1000;
    /** Limits that were exceeded, by name. */
    this.violated = told.violated ?? [];
    this.keyId = told.keyId;
  }

  /** The answer of the API as a failure. @param {Response} response @param {any} body */
  static answered(response, body) {
    const seconds = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
    return new Failure({
      status: response.status,
      code: body?.code ?? "unknown",
      message: body?.error ?? `The server answered with status ${response.status}`,
      field: body?.field,
      requestId: response.headers.get("x-request-id") ?? undefined,
      retryAfter: Number.isFinite(seconds) ? seconds : undefined,
      violated: body?.["violated-policies"],
      keyId: body?.keyId,
    });
  }

  /** No answer at all. */
  static unreachable() {
    return new Failure({ status: 0, code: "unreachable", message: "The server cannot be reached", retryAfter: 3 });
  }
}
