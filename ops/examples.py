#!/usr/bin/env python3
"""Checks the OpenAPI examples against a running Waybill: every request is sent, and every answer must match its example.

    ops/examples.py PROGRAM            PROGRAM is the built `waybill`
    ops/examples.py PROGRAM --write    also writes the answers that changed into services/gateway/src/docs/examples.json, and into schemas/

Requests are written by hand in that file; short-lived values (ids, tokens, the address of the target) are inserted when they are sent.
In answers, times, ids, secrets and measured numbers only have to be of the same kind. The walk through the API is
example_walk.py.
"""

import json
import queue
import re
import sys
import tempfile
import traceback
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True  # its modules are in the repository

import example_walk
from instance import ROOT, Server

FILE = ROOT / "services" / "gateway" / "src" / "docs" / "examples.json"
CALL_SECONDS = 30
# Bodies that are not compared: pages for people.
PAGE = "text/html"
# The one operation that needs an external issuer; services/gateway/tests/it/people/outside.rs tests it. It answers like a log-in.
NOT_WALKED = {"auth.oidc.finish": "auth.session.create"}
# Errors that may be shown by the example of any operation: a limit of requests reads alike everywhere, and so do most faults of a dependency.
SHARED_ERRORS = {"429", "503"}
# Errors that nothing provokes here, by the reason; their examples are written by hand, and tests in Rust provoke them.
UNPROVOKED = {
    "this server has a public address": {
        f"oauth.{operation} 404"
        for operation in ("metadata.get", "authorization.ask", "authorization.decide", "session.create", "token.create", "token.introspect", "token.revoke", "app.create", "device.ask")
    },
    "this server has no outside issuer": {"auth.oidc.finish 400", "auth.oidc.finish 403", "auth.password.change 409"},
    "anybody may sign up here": {"auth.account.create 403"},
    "this server has a reporter of keys": {"keys.report.create 404"},
    "retention has to take a task away first": {"tasks.task.replay 410", "tasks.dead_letter.retry 410", "workflows.workflow.retry 410"},
    "two requests have to meet": {"vault.token.rotate 409"},
    "twenty operations have to be open": {"tasks.operation.create 409", "tasks.dead_letter.retry_many 409", "tasks.dead_letter.purge 409", "tasks.queue.purge 409"},
    "a team's first event is its own creation": {f"activity.{operation} 404" for operation in ("checkpoint.get", "consistency.prove", "event.export")},
    "a viewer of the team that has the tasks has to ask": {"tasks.result.get 403"},
    "ten thousand schedules have to be there": {"schedules.schedule.create 409"},
    "an invitation is made to an address that is no member's": {"teams.invitation.accept 409"},
}
UNPROVOKED = set().union(*UNPROVOKED.values())
# Numbers that must match exactly; all others are measured or counted.
EXACT = {"attempts", "limit", "maxRetries", "number", "priority", "retryCount", "statusCode"}
# Members that are present or absent depending on timing.
FLEETING = {"lastUsedAt"}
# Words that were generated at random.
RANDOM = {"displayPrefix", "kid", "last4", "userCode", "user_code", "verification_uri_complete"}
SECRETS = [
    (r"\b(wb|sp|qu|aitk)_(live|test)_[0-9A-Za-z]{46}\b", r"wb_live_EXAMPLE0ThisIsNoSecretItIsTheExampleKey01y2YJo"),
    (r"\bwhsec_[\w+/=]+", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    (r"\beyJ[\w-]+\.[\w-]+\.[\w-]+", "eyJhbGciOiJFUzI1NiJ9.EXAMPLE.EXAMPLE"),
    (r"\b(wb_[a-z]+_)(?!live|test)[\w.-]{12,}", r"\1EXAMPLE"),
]


class Walk:
    """Sends examples, and records the answers."""

    def __init__(self, server, examples, api):
        self.server, self.examples, self.api = server, examples, api
        self.operations = {}
        for described, items in (("paths", api["paths"]), ("webhooks", api.get("webhooks", {}))):
            for path, item in items.items():
                for method, operation in item.items():
                    # Those of the jobs API are their clients' own: services/gateway/tests/it/jobs.rs compares its answers.
                    if operation["operationId"].startswith("jobs."):
                        continue
                    self.operations[operation["operationId"]] = (described, path, method, operation)
        self.sent, self.received, self.errors, self.called, self.wrong = set(), {}, {}, {}, []
        # Names in the examples that differ from the actual ones.
        self.names = {server.url: "https://waybill.example.com"}

    def try_to(self, operation, statuses, path, live, key):
        """Sends an example that may be refused; only a refusal is recorded."""
        _, template, method, _ = self.operations[operation]
        request = urllib.request.Request(self.server.url + template.format(**path), json.dumps({**self.examples["requests"][operation], **live}).encode(), method=method.upper())
        request.add_header("Authorization", f"Bearer {key}")
        request.add_header("Content-Type", "application/json")
        try:
            answer = OPENER.open(request, timeout=CALL_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            seen = json.load(answer)
        if answer.status not in statuses:
            self.wrong.append(f"{operation}: {answer.status} instead of one of {statuses}: {seen}")
        elif answer.status >= 400:
            self.keep(operation, str(answer.status), "application/json", seen)
        return Answer(answer, seen)

    def send(self, operation, status, path=None, query=None, live=None, body=None, headers=None, key=None, keep=True, read=None):
        """Sends the example of an operation and expects a status. `live` replaces members of the body; a stream is read up to `read`."""
        _, template, method, described = self.operations[operation]
        url = self.server.url + re.sub(r"\{(\w+)\}", lambda name: urllib.parse.quote(str((path or {})[name[1]])), template)
        url += "?" + urllib.parse.urlencode(query) if query else ""
        headers = {"User-Agent": "shop/1.0", **(headers or {})}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = None
        content = described.get("requestBody", {}).get("content")
        if content and body is None and keep is not None:
            example = self.examples["requests"].get(operation)
            if example is None:
                self.wrong.append(f"{operation}: there is no example of the request")
                return {}
            self.sent.add(operation)
            body = {**example, **(live or {})} if isinstance(example, dict) else live
        if body is not None:
            headers.setdefault("Content-Type", next(iter(content)) if content else "application/json")
            is_form = headers["Content-Type"].endswith("urlencoded")
            data = body if isinstance(body, bytes) else (urllib.parse.urlencode(body) if is_form else json.dumps(body)).encode()
        request = urllib.request.Request(url, data, headers, method=method.upper())
        try:
            answer = OPENER.open(request, timeout=CALL_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read().decode() if read is None else read_until(answer, read)
        if answer.status != status:
            self.wrong.append(f"{operation}: {answer.status} instead of {status}: {text[:300]}")
            return Answer(answer, {})
        media_type = (answer.headers.get("Content-Type") or "").split(";")[0]
        seen = json.loads(text) if media_type == "application/json" else text
        if keep and text and media_type != PAGE:
            self.keep(operation, str(status), media_type, seen)
        return Answer(answer, seen)

    def answer(self, operation, key):
        """The answer of an operation without input, whatever its status."""
        _, path, method, _ = self.operations[operation]
        request = urllib.request.Request(self.server.url + path, headers={"Authorization": f"Bearer {key}"}, method=method.upper())
        try:
            answer = OPENER.open(request, timeout=CALL_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Answer(answer, json.load(answer))

    def request_received(self, operation, seen):
        """Records a request that Waybill itself makes."""
        self.sent.add(operation)
        self.called[operation] = self.known_names(seen)

    def keep(self, operation, status, media_type, seen):
        described = self.operations[operation][3]["responses"].get(status, {})
        if "$ref" in described:
            return  # one of those that any operation may answer
        described = described.get("content", {})
        if media_type not in described:
            self.wrong.append(f"{operation}: {status} {media_type} is not described")
            return
        part = status if len(described) == 1 else f"{status} {media_type}"
        self.received.setdefault(operation, {})[part] = self.known_names(seen)

    def received_by(self, operation):
        """What came from an operation, or from the one that answers like it."""
        return self.received.get(NOT_WALKED.get(operation), {}) | self.received.get(operation, {})

    def known_names(self, seen):
        text = json.dumps(seen, ensure_ascii=False)
        for live, name in self.names.items():
            text = text.replace(live, name)
        for pattern, example in SECRETS:
            text = re.sub(pattern, example, text)
        return json.loads(text)

    def error(self, status, seen):
        """Records an answer with that status that any operation may give."""
        self.errors[str(status)] = self.known_names(seen)


class Answer(dict):
    """A JSON object, with the answer that contained it."""

    def __init__(self, answer, seen):
        super().__init__(seen if isinstance(seen, dict) else {})
        self.text, self.headers, self.status = seen if isinstance(seen, str) else "", answer.headers, answer.status


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


OPENER = urllib.request.build_opener(NoRedirects)


def read_until(answer, word):
    text = ""
    while word not in text:
        line = answer.readline().decode()
        if not line:
            break
        text += line
    return text + answer.readline().decode()


def plain(text):
    """A text without the parts that differ each time."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?UTC|Z)?", "<time>", text)
    text = re.sub(r"\b([a-z]{2,6}_)[0-9A-Za-z]{8,}\b", r"\1<id>", text)
    text = re.sub(r"(?<![\w+/-])(?=[A-Za-z+/_-]*\d)[\w+/-]{16,}=*", "<bytes>", text)
    text = re.sub(r"(?<![\w+/-])(?=[a-z+/_-]*[A-Z])(?=[A-Z+/_-]*[a-z])[\w+/-]{24,}=*", "<bytes>", text)
    text = re.sub(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b", "<hex>", text)
    return re.sub(r"\d+", "0", text)


def differs(example, seen, at=""):
    """Where an answer differs in kind from its example; None if it does not."""
    if isinstance(example, dict) and isinstance(seen, dict):
        if example.keys() != seen.keys():
            return f"{at}: members {sorted(example.keys() ^ seen.keys())}"
        parts = ((f"{at}.{name}", example[name], seen[name]) for name in example if name not in FLEETING | RANDOM)
    elif isinstance(example, list) and isinstance(seen, list):
        if len(example) != len(seen):
            return f"{at}: {len(seen)} instead of {len(example)} elements"
        parts = ((f"{at}[{n}]", *pair) for n, pair in enumerate(zip(example, seen)))
    elif isinstance(example, str) and isinstance(seen, str):
        return None if plain(example) == plain(seen) else f"{at}: {seen[:200]!r} instead of {example[:200]!r}"
    elif type(example) in (int, float) and type(seen) in (int, float):
        is_exact = at.split(".")[-1].split("[")[0] in EXACT
        return f"{at}: {seen} instead of {example}" if is_exact and example != seen else None
    else:
        return None if example == seen and type(example) is type(seen) else f"{at}: {seen!r} instead of {example!r}"
    return next((found for part in parts if (found := differs(part[1], part[2], part[0]))), None)


def compare(walk, write):
    """Compares the answers with the examples; returns how many match, and what differs."""
    examples, right = walk.examples, 0
    came = [(f"{operation} {part}", parts, examples["responses"].setdefault(operation, {}), part) for operation, parts in walk.received.items() for part in parts]
    came += [(f"any operation {status}", walk.errors, examples["errors"], status) for status in walk.errors]
    came += [(f"{operation} request", walk.called, examples["requests"], operation) for operation in walk.called]
    for name, seen, known, part in came:
        # What reads as from any operation is shown by the shared example.
        shared = None if known is examples["errors"] else examples["errors"].get(part)
        known_as = known.get(part, shared)
        how = "there is no example of it" if known_as is None else differs(known_as, seen[part])
        if how is None:
            right += 1
        elif write:
            known[part] = seen[part]
        else:
            walk.wrong.append(f"{name}: {how}")
    for operation, (_, _, _, described_as) in walk.operations.items():
        if "requestBody" in described_as and operation not in walk.sent:
            walk.wrong.append(f"{operation}: its request was not sent")
        for status, answer in described_as["responses"].items():
            if "$ref" in answer and status not in walk.errors:
                walk.wrong.append(f"{operation}: {status} was not received")
            for media_type in answer.get("content", {}):
                received = walk.received_by(operation)
                own = status in received or f"{status} {media_type}" in received
                if media_type != PAGE and not own and status not in SHARED_ERRORS and f"{operation} {status}" not in UNPROVOKED:
                    walk.wrong.append(f"{operation}: {status} {media_type} was not received")
    for operation, parts in examples["responses"].items():
        for part in parts:
            if f"{operation} {part}" not in UNPROVOKED and part not in walk.received_by(operation):
                walk.wrong.append(f"{operation}: the example of {part} was not received")
    if write:
        for operation, other in NOT_WALKED.items():
            examples["responses"][operation]["200"] = examples["responses"][other]["200"]
        FILE.write_text(json.dumps(ordered(examples), indent=2, ensure_ascii=False) + "\n")
        for path in (ROOT / "schemas" / "openapi.json", *(ROOT / "schemas" / "openapi").glob("*.json")):
            document = json.loads(path.read_text())
            show(document, examples)
            path.write_text(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n")
    return right + len(walk.sent)


def show(document, examples):
    """Inserts the examples where the gateway will have them once it is rebuilt (services/gateway/src/docs/examples.rs)."""
    for operation in (one for part in ("paths", "webhooks") for item in document.get(part, {}).values() for one in item.values()):
        if operation["operationId"].startswith("jobs."):
            continue
        own = examples["responses"].get(operation["operationId"], {})
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content["example"] = examples["requests"][operation["operationId"]]
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                example = own.get(f"{status} {media_type}", own.get(status, examples["errors"].get(status)))
                if media_type != PAGE and example is not None:
                    content["example"] = example


def ordered(examples):
    return {part: dict(sorted(examples[part].items())) for part in ("requests", "responses", "errors")}


def where(error):
    last = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("example_walk.py")][-1]
    return f"in line {last.lineno} of example_walk.py"


def main():
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--write"]):
        sys.exit("usage: ops/examples.py PROGRAM [--write]")
    examples = json.loads(FILE.read_text())
    with tempfile.TemporaryDirectory(prefix="waybill-examples.") as folder:
        folder = Path(folder)
        reporter = example_walk.Reporter(folder)
        server = Server(sys.argv[1], folder, example_walk.configuration(reporter), example_walk.TINY_PLAN, WAYBILL__LOG__FILTER="warn,waybill_mail=info")
        try:
            with urllib.request.urlopen(server.url + "/openapi.json", timeout=CALL_SECONDS) as answer:
                walk = Walk(server, examples, json.load(answer))
            example_walk.go(walk, reporter)
        except (AttributeError, KeyError, IndexError, TypeError, TimeoutError, queue.Empty) as broken:
            # The cause was printed before; later steps of the walk would lack the result of this one.
            walk.wrong.append(f"the walk broke off: {broken!r} {where(broken)}")
        finally:
            server.stop()
    right = compare(walk, sys.argv[2:] == ["--write"])
    for sentence in walk.wrong:
        print(f"examples: {sentence}", flush=True)
    print(f"examples: {right} passed, {len(walk.wrong)} failed", flush=True)
    sys.exit(bool(walk.wrong))


main()
