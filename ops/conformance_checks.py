"""What ops/conformance checks beside schemathesis' own checks, and how it keeps its tasks from calling anybody. Loaded by schemathesis."""

import os
from urllib.parse import urlsplit

import schemathesis

CREDENTIAL = os.environ["WAYBILL_CREDENTIAL"]
READS = {"GET", "HEAD", "OPTIONS"}
# Questions whose words do not fit into a query: they change nothing, and a key that may only read may ask them.
QUESTIONS = {"/v1/signatures/verify"}
# Nothing listens there. Tasks that are made call it and fail at once; without this they would call whatever host a request made up.
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


def elsewhere(url):
    try:
        return urlsplit(url).scheme.lower() in ("http", "https")
    except ValueError:
        return False


@schemathesis.hook
def before_call(context, case, kwargs):
    call_nobody(case.body)


def documented(case):
    """Whether this is an operation for keys or people, called by the method that is described. OAuth clients authenticate in a form of their own."""
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


@schemathesis.check
def every_answer_is_marked(ctx, response, case):
    assert response.headers.get("x-content-type-options") == ["nosniff"], "X-Content-Type-Options: nosniff is missing"
    assert "x-request-id" in response.headers, "X-Request-Id is missing"
    assert not any(name.startswith("access-control-") for name in response.headers), "CORS although no origin is allowed"
    assert "server" not in response.headers, "a Server header says what runs here"
