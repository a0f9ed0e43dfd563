"""Checks that ops/conformance adds to those of schemathesis, and the hook that keeps its tasks from calling real hosts. Loaded by schemathesis."""

import os
from urllib.parse import urlsplit

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection

CREDENTIAL = os.environ["WAYBILL_CREDENTIAL"]
READS = {"GET", "HEAD", "OPTIONS"}
# POSTs that only read, because their input does not fit into a query string: a read-only key may call them.
# A stream token is one of them: nothing is stored, and it gives access to no more than the key that requests it.
# The last one ends a session of the caller, whatever that may do.
QUESTIONS = {"/v1/signatures/verify", "/v1/tasks/{id}/stream-token", "/v1/events/stream-token", "/api/v1/auth/logout"}
# Nothing listens there. Created tasks call it and fail at once; otherwise they would call whatever host a generated request contains.
NOWHERE = "http://127.0.0.1:9/"
CALLED = ("targetUrl", "callbackUrl", "onCompleteUrl")


def call_nobody(body):
    if isinstance(body, dict):
        for name, value in body.items():
            if name in CALLED and isinstance(value, str) and elsewhere(value):
                body[name] = NOWHERE
            elif name == "tasks" and isinstance(value, list):
                for task in value:
                    call_nobody(task)
            elif name == "task":  # of a schedule
                call_nobody(value)


def wait_for_nothing(case):
    """A claim would hold its answer back for up to 30 s."""
    waits = case.operation.path == "/v1/claims" and isinstance(case.body, dict) and case.body.get("wait")
    if isinstance(waits, (int, float)) and 0 < waits <= 30:
        case.body["wait"] = 0


def elsewhere(url):
    try:
        return urlsplit(url).scheme.lower() in ("http", "https")
    except ValueError:
        return False


@schemathesis.hook
def before_call(context, case, kwargs):
    call_nobody(case.body)
    wait_for_nothing(case)


def documented(case):
    """Whether this is an operation for keys or people, called with the method described. OAuth clients authenticate differently, in the form."""
    security = case.operation.definition.raw.get("security") or []
    ours = any(name in requirement for requirement in security for name in ("api_key", "session"))
    return case.method.upper() == case.operation.method.upper() and ours


@schemathesis.check
def a_credential_opens_no_more_than_it_should(ctx, response, case):
    if not documented(case):
        return
    if CREDENTIAL == "none":
        assert response.status_code == 401, f"without a key: {response.status_code} instead of 401"
    elif CREDENTIAL == "read-only" and case.method.upper() not in READS and case.operation.path not in QUESTIONS:
        assert response.status_code in (401, 403), f"a key that may only read: {response.status_code} instead of 403"


def holds_null(value):
    if isinstance(value, dict):
        return any(member is None or holds_null(member) for member in value.values())
    return isinstance(value, list) and any(holds_null(item) for item in value)


@schemathesis.check
def wrong_data_is_refused(ctx, response, case):
    """The check of that name without `null`: the description does not offer it for what is left out, and the server takes it all the same."""
    if not holds_null(case.body):
        negative_data_rejection(ctx, response, case)


@schemathesis.check
def every_answer_is_marked(ctx, response, case):
    assert response.headers.get("x-content-type-options") == ["nosniff"], "X-Content-Type-Options: nosniff is missing"
    assert "x-request-id" in response.headers, "X-Request-Id is missing"
    assert not any(name.startswith("access-control-") for name in response.headers), "CORS although no origin is allowed"
    assert "server" not in response.headers, "a Server header says what runs here"
