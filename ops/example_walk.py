"""A walk through every operation of the API, in an order in which each has what it needs: see examples.py."""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
from pathlib import Path

from page_signatures import Receiver

SHOP = "https://shop.example.com"
ANN, BEN = "ann@example.com", "ben@example.com"
LETTER_SECONDS = 30
# Without the log a gateway accepts no credential once its lease has run out.
AWAY_SECONDS = 30
# A little more than the time limit for receiving a body.
SLOW_SECONDS = 60
# One request an hour.
TINY_PLAN = """
[plans.tiny]
max_wait_s = 30
policies = [{ name = "team", scope = "team", q = 1, w = 3600 }]
"""


class Reporter:
    """A reporter of leaked keys, with its own key pair."""

    def __init__(self, folder):
        self.key = folder / "reporter.pem"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key], check=True, capture_output=True)
        self.public = subprocess.run(["openssl", "ec", "-in", self.key, "-pubout"], check=True, capture_output=True, text=True).stdout

    def headers(self, body):
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=body, check=True, capture_output=True).stdout
        return {"Github-Public-Key-Identifier": "k1", "Github-Public-Key-Signature": base64.b64encode(signature).decode()}


def configuration(reporter):
    return f"""
[gateway]
plan_self_service = true

[[gateway.key_reporters]]
name = "scanner"
identifier = "k1"
public_key = '''
{reporter.public}'''
"""


def go(walk, reporter):
    receiver = Receiver(b'{"shipped": true}')
    slow = SlowBody(walk.server.url, walk.server.key)
    walk.names[receiver.url] = SHOP
    try:
        health(walk)
        ann = people(walk)
        team = teams(walk, ann)
        keys(walk, ann, team)
        vault(walk)
        queues(walk)
        targets(walk)
        views(walk)
        listeners(walk, ann, team)
        tasks(walk, receiver)
        claims(walk)
        signatures(walk, receiver)
        applications(walk, ann, team)
        activity(walk)
        reports(walk, reporter, ann, team)
        ann = passwords(walk, ann)
        refusals(walk, ann, team)
        errors(walk, ann, team, slow)
    finally:
        receiver.stop()


def letter(walk, to, kind):
    """The newest token of that kind in an email: without a mail server emails are written to the log."""
    until = time.monotonic() + LETTER_SECONDS
    while True:
        letters = walk.server.log.read_text().split("a letter:")
        found = [token for text in letters for token in re.findall(rf"wb_{kind}_[\w.-]+", text)]
        if len(found) > walk.letters.get(kind, 0):
            walk.letters[kind] = len(found)
            return found[-1]
        if time.monotonic() > until:
            raise TimeoutError(f"no email to {to} with a token to {kind}")
        time.sleep(0.05)


def health(walk):
    for operation in ("health.liveness.get", "health.readiness.get", "system.meta.get", "auth.signing_keys.list", "oauth.metadata.get", "activity.audit_keys.list"):
        walk.send(operation, 200)


def sign_up(walk, email, name, keep=False):
    walk.send("auth.account.create", 202, live={"email": email}, keep=keep)
    token = letter(walk, email, "confirm")
    return walk.send("auth.address.confirm", 201, live={"token": token, "name": name}, keep=keep)


def people(walk):
    walk.letters = {}
    sign_up(walk, ANN, "Ann", keep=True)
    first = walk.send("auth.session.create", 200)
    ann = walk.send("auth.session.refresh", 200, live={"refreshToken": first["refreshToken"]})["accessToken"]
    walk.send("account.person.update", 200, key=ann)
    walk.send("account.person.get", 200, key=ann)
    sessions = walk.send("auth.session.list", 200, key=ann)["sessions"]
    other = next(session for session in sessions if not session["current"])
    walk.send("auth.session.delete", 204, {"sessionId": other["id"]}, key=ann)
    token = link(walk)
    walk.send("auth.link.use", 403, live={"token": token}, headers={"X-Forwarded-For": "192.0.2.7"})
    owner = walk.send("auth.link.use", 200, live={"token": token})["accessToken"]
    walk.send("auth.link.use", 400, live={"token": token})
    walk.send("account.address.create", 400, live={"password": "short"}, key=owner)
    walk.send("account.address.create", 200, key=owner)
    walk.send("account.address.create", 409, key=owner)
    walk.send("system.state.get", 200, key=owner)
    walk.send("system.state.get", 403, key=ann)
    return ann


def link(walk):
    """The token of a sign-in link, as the machine itself prints it."""
    command = [walk.server.process.args[0], "dashboard", "--data", str(walk.server.folder / "data")]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return said.stdout.strip().split("#token=")[1]


def teams(walk, ann):
    team = {"teamId": walk.send("teams.team.create", 201, key=ann)["team"]["id"]}
    for operation in ("teams.team.update", "teams.plan.set", "teams.task_defaults.set", "teams.vault_policy.set", "teams.leak_policy.set", "teams.payload_policy.set"):
        walk.send(operation, 200, team, key=ann)
    walk.send("teams.team.list", 200, key=ann)
    for operation in ("teams.team.get", "teams.plan.get", "teams.usage.get"):
        walk.send(operation, 200, team, key=ann)
    invitation = walk.send("teams.invitation.create", 201, team, key=ann)["invitation"]
    here = {**team, "invitationId": invitation["id"]}
    token = letter(walk, BEN, "inv")
    walk.send("teams.invitation.list", 200, team, key=ann)
    walk.send("teams.invitation.get", 200, here, key=ann)
    ben = sign_up(walk, BEN, "Ben")["accessToken"]
    walk.send("teams.invitation.accept", 200, live={"token": token}, key=ben)
    members = walk.send("teams.member.list", 200, team, key=ann)["members"]
    there = {**team, "userId": next(member["id"] for member in members if member["role"] == "member")}
    walk.send("teams.member.update", 200, there, key=ann)
    walk.send("teams.member.delete", 204, there, key=ann)
    another = walk.send("teams.invitation.create", 201, team, live={"email": "eve@example.com"}, key=ann, keep=False)["invitation"]
    walk.send("teams.invitation.delete", 204, {**team, "invitationId": another["id"]}, key=ann)
    return team


def keys(walk, ann, team):
    once = {"Idempotency-Key": "ci"}
    made = walk.send("keys.key.create", 201, team, headers=once, key=ann)["apiKey"]
    walk.send("keys.key.create", 422, team, live={"name": "another"}, headers=once, key=ann)
    walk.send("keys.key.list", 200, team, key=ann)
    walk.send("keys.key_usage.get", 200, {"keyId": made["id"]}, key=ann)
    walk.send("keys.own_key.get", 200, key=made["key"])
    new = walk.send("keys.key.rotate", 201, {"keyId": made["id"]}, key=ann)["apiKey"]
    walk.send("keys.key.rotate", 409, {"keyId": made["id"]}, key=ann)
    walk.send("keys.key.revoke", 200, {"keyId": new["id"]}, key=ann)
    walk.send("keys.own_key.revoke", 200, key=made["key"])
    by_key = walk.send("keys.api_key.create", 201, headers=once, key=walk.server.key)["apiKey"]
    walk.send("keys.api_key.create", 422, live={"name": "another"}, headers=once, key=walk.server.key)
    walk.send("keys.api_key.delete", 200, {"keyId": by_key["id"]}, key=walk.server.key)


def vault(walk):
    key = walk.server.key
    token = {"tokenId": walk.send("vault.token.create", 201, key=key)["token"]["id"]}
    walk.send("vault.token.list", 200, key=key)
    walk.send("vault.token.get", 200, token, key=key)
    walk.send("vault.token.rotate", 200, token, key=key)
    walk.send("vault.token.delete", 200, token, key=key)


def dies(walk, task, receiver, key):
    """Creates a task whose answer is no success, and waits for its end and its webhook."""
    task = walk.send("tasks.task.create", 201, live=task, key=key, keep=False)["task"]["id"]
    receiver.next(), receiver.next()
    walk.send("tasks.task.get", 200, {"id": task}, query={"wait": 25, "for": "end"}, key=key, keep=False)
    return task


def queues(walk):
    key = walk.server.key
    mail = {"name": "mail"}
    walk.send("work.queue.limit", 200, mail, key=key)
    walk.send("work.queue.pause", 200, mail, key=key)
    walk.send("work.queue.list", 200, key=key)
    walk.send("work.queue.get", 200, mail, key=key)
    walk.send("work.queue.get", 404, {"name": "nowhere"}, key=key)
    walk.send("work.queue.drain", 200, mail, key=key)
    walk.send("work.queue.limit", 412, mail, headers={"If-Match": '"0"'}, key=key)
    walk.send("work.stats.get", 200, query={"window": "1h", "step": "1h"}, key=key)
    walk.send("work.stats.get", 400, query={"window": "1h", "step": "7s"}, key=key)
    walk.send("work.queue.resume", 200, mail, key=key)
    walk.send("work.queue.limit", 200, mail, body={}, key=key, keep=False)
    limit = {"key": "customer:17"}
    walk.send("work.limit.set", 200, limit, key=key)
    walk.send("work.limit.set", 412, limit, headers={"If-Match": '"0"'}, key=key)
    walk.send("work.limit.pause", 200, limit, key=key)
    walk.send("work.limit.list", 200, key=key)
    walk.send("work.limit.get", 200, limit, key=key)
    walk.send("work.limit.get", 404, {"key": "nowhere"}, key=key)
    walk.send("work.limit.resume", 200, limit, key=key)
    walk.send("work.limit.set", 200, limit, body={}, key=key, keep=False)


def targets(walk):
    key, host = walk.server.key, {"host": "api.example.com"}
    walk.send("work.target.set", 200, host, key=key)
    walk.send("work.target.get", 200, host, key=key)
    walk.send("work.target.list", 200, key=key)
    walk.send("work.target.get", 400, {"host": "not a host"}, key=key)
    walk.send("work.target.set", 400, host, body={"failuresInARow": 0}, key=key)
    walk.send("work.target.open", 200, host, key=key)
    walk.send("work.target.open", 400, host, body={"until": "1999-01-31T12:00:00Z"}, key=key)
    walk.send("work.target.close", 200, host, key=key)
    walk.send("work.target.close", 400, {"host": "not a host"}, key=key)
    walk.send("work.target.set", 200, host, body={}, key=key, keep=False)


def claims(walk):
    key = walk.server.key

    def held():
        task = {"queue": "images", "json": {"file": "cat.png", "width": 640}}
        walk.send("tasks.task.create", 201, body=task, key=key, keep=False)
        return {"id": walk.send("work.claim.create", 200, key=key)["claims"][0]["id"]}

    first = held()
    worker = {"name": "resizer-1"}
    walk.send("work.worker.register", 200, worker, key=key)
    walk.send("work.worker.list", 200, key=key)
    walk.send("work.worker.get", 200, worker, key=key)
    walk.send("work.worker.get", 404, {"name": "nobody"}, key=key)
    walk.send("work.worker.drain", 200, worker, key=key)
    walk.send("work.worker.resume", 200, worker, key=key)
    limited = {"name": "words only", "queues": ["words"]}
    limited = walk.send("keys.api_key.create", 201, body=limited, key=key, keep=False)["apiKey"]["key"]
    walk.send("work.claim.create", 403, key=limited)
    walk.send("work.worker.register", 403, worker, key=limited)
    walk.send("work.claim.progress", 200, first, key=key)
    walk.send("work.claim.heartbeat", 200, first, key=key)
    walk.send("work.claim.complete", 413, first, body=b'{"result": "' + b"x" * (1024 * 1024) + b'"}', key=key)
    walk.send("work.claim.complete", 200, first, key=key)
    for how in ("fail", "heartbeat", "progress", "release"):
        walk.send(f"work.claim.{how}", 409, first, key=key)
    failed = held()
    walk.send("work.claim.fail", 200, failed, key=key)
    walk.send("work.claim.complete", 409, failed, key=key)
    two = [held()["id"], held()["id"]]
    reports = walk.examples["requests"]["work.claim.report"]["reports"]
    walk.send("work.claim.report", 200, live={"reports": [{**report, "id": own} for report, own in zip(reports, two)]}, key=key)
    walk.send("work.claim.release", 200, {"id": two[1]}, key=key)
    walk.send("work.worker.deregister", 204, worker, key=key)


def tasks(walk, receiver):
    key = walk.server.key
    urls = {"targetUrl": receiver.url + "/orders", "onCompleteUrl": receiver.url + "/done"}
    once = {"Idempotency-Key": "order-17"}
    task = {"id": walk.send("tasks.task.create", 201, live=urls, headers=once, key=key)["task"]["id"]}
    walk.send("tasks.task.create", 422, live={**urls, "json": {"order": 18}}, headers=once, key=key)
    once = {"dedup": {"key": "order-17", "window": "1h", "onDuplicate": "reject"}, "queue": "once", "delay": "5m", "onCompleteUrl": None}
    for status in (201, 409):
        walk.send("tasks.task.create", status, live={**urls, **once}, key=key, keep=status == 409)
    receiver.next()
    _, message = receiver.next()
    walk.ended = task["id"]
    walk.request_received("tasks.webhook.receive", json.loads(message))
    until_delivered(walk, task, key)
    walk.send("tasks.task.get", 200, task, query={"wait": 25, "for": "end"}, key=key)
    walk.send("tasks.result.get", 200, task, key=key)
    walk.send("tasks.result.get", 200, task, query={"raw": "true"}, key=key)
    walk.send("tasks.task.cancel", 409, task, key=key)
    walk.send("tasks.task.delete", 409, task, key=key)
    walk.send("tasks.webhook.redeliver", 200, task, key=key)
    receiver.next()
    until_delivered(walk, task, key)
    until_captured(walk, task, 3, key)
    walk.send("work.capture.list", 200, task, key=key)
    batch = walk.examples["requests"]["tasks.task.create_batch"]["tasks"]
    batch = [{**each, "targetUrl": receiver.url + "/orders"} for each in batch]
    walk.send("tasks.task.create_batch", 200, live={"tasks": batch}, key=key)
    receiver.next(), receiver.next()
    wrong = [{**batch[0], "idempotencyKey": "order-20"}, {**batch[1], "maxRetries": 25}]
    walk.send("tasks.task.create_batch", 207, live={"tasks": wrong}, key=key)
    receiver.next()
    for operation in ("tasks.task.cancel", "tasks.task.delete"):
        later = walk.send("tasks.task.create", 201, live={**urls, "delay": "1h"}, key=key, keep=False)["task"]["id"]
        walk.send("tasks.task.explain", 200, {"id": later}, key=key)
        walk.send(operation, 200, {"id": later}, key=key)
        receiver.next()
    # In a queue that is paused, so that the answer does not depend on how fast a worker is.
    held = {"name": "held"}
    walk.send("work.queue.pause", 200, held, key=key, keep=False)
    later = {**urls, "delay": "1h", "queue": "held"}
    later = {"id": walk.send("tasks.task.create", 201, live=later, key=key, keep=False)["task"]["id"]}
    walk.send("tasks.webhook.redeliver", 409, later, key=key)
    walk.send("tasks.task.replay", 409, later, key=key)
    walk.send("tasks.task.change", 200, later, key=key)
    walk.send("tasks.task.run_now", 200, later, key=key)
    walk.send("work.queue.resume", 200, held, key=key, keep=False)
    receiver.next(), receiver.next()
    walk.send("tasks.task.run_now", 409, task, key=key)
    walk.send("tasks.task.change", 409, task, key=key)
    # It fails, and blocks those with its key until they are let go.
    line = {"orderingKey": "order-17", "onFailure": "block"}
    stuck = {"id": dies(walk, {**urls, "success": "404", **line}, receiver, key)}
    walk.send("tasks.task.unblock", 200, stuck, key=key)
    walk.send("tasks.task.unblock", 409, stuck, key=key)
    once = {"Idempotency-Key": "order-17-again"}
    walk.send("tasks.task.replay", 201, task, headers=once, key=key)
    walk.send("tasks.task.replay", 422, task, live={"queue": "another"}, headers=once, key=key)
    receiver.next(), receiver.next()
    dead = {"id": dies(walk, {**urls, "success": "404"}, receiver, key)}
    walk.send("tasks.dead_letter.list", 200, key=key)
    walk.send("tasks.dead_letter.group", 200, key=key)
    walk.send("tasks.dead_letter.retry", 201, dead, key=key)
    receiver.next(), receiver.next()
    sealed = dies(walk, {**urls, "success": "404", "headers": {"Authorization": "Bearer secret"}}, receiver, key)
    walk.send("tasks.dead_letter.retry", 409, {"id": sealed}, key=key)
    operations(walk, key)
    schedules(walk, receiver, key)
    workflows(walk, receiver, key)
    walk.send("tasks.task.list", 200, query={"tag": "orders", "status": "completed", "limit": 1}, key=key)
    walk.send("tasks.event.stream", 200, task, key=key)
    walk.send("tasks.stream_token.create", 201, task, key=key)
    walk.send("tasks.stream_token.create_for_filter", 201, key=key)
    walk.send("tasks.event.stream_all", 200, query={"after": 0, "type": "task.created"}, key=key, read="data:")


def operations(walk, key):
    first = {"Idempotency-Key": "first-operation"}
    walk.send("tasks.operation.preview", 200, key=key)
    made = walk.send("tasks.operation.create", 201, headers=first, key=key)
    walk.send("tasks.operation.create", 422, live={"rate": 7}, headers=first, key=key)
    until_over(walk, made, key)
    walk.send("tasks.operation.list", 200, key=key)
    once = {"Idempotency-Key": "orders-again"}
    walk.send("tasks.dead_letter.retry_many", 201, headers=once, key=key)
    walk.send("tasks.dead_letter.retry_many", 422, live={"rate": 7}, headers=once, key=key)
    gone = {"Idempotency-Key": "letters-gone"}
    walk.send("tasks.dead_letter.purge", 201, headers=gone, key=key)
    walk.send("tasks.dead_letter.purge", 422, live={"rate": 7}, headers=gone, key=key)
    queue, wrong = {"name": "nobodys"}, {"Idempotency-Key": "wrong-list"}
    walk.send("tasks.queue.purge", 201, queue, headers=wrong, key=key)
    walk.send("tasks.queue.purge", 422, queue, live={"rate": 7}, headers=wrong, key=key)
    # One that is about nothing is over at once; undoing it is about nothing either.
    cancel = {"action": "cancel", "filter": {"queue": ["nobodys"]}}
    over = until_over(walk, walk.send("tasks.operation.create", 201, live=cancel, key=key, keep=False), key)
    walk.send("tasks.operation.get", 200, over, key=key)
    for how in ("pause", "resume", "cancel"):
        walk.send(f"tasks.operation.{how}", 409, over, key=key)
    undo = walk.send("tasks.operation.undo", 201, over, key=key)
    walk.send("tasks.operation.undo", 409, until_over(walk, undo, key), key=key)
    # At one a second, and with more than one task, it is still running when it is paused.
    slow = {"action": "replay", "filter": {"status": ["failed", "completed"]}, "rate": 1}
    slow = {"id": walk.send("tasks.operation.create", 201, live=slow, key=key, keep=False)["operation"]["id"]}
    for how in ("pause", "resume", "cancel"):
        walk.send(f"tasks.operation.{how}", 200, slow, key=key)


def schedules(walk, receiver, key):
    once = {"Idempotency-Key": "morning-report"}
    report = {"task": {"targetUrl": receiver.url + "/report"}}
    made = walk.send("schedules.schedule.create", 201, live=report, headers=once, key=key)
    walk.send("schedules.schedule.create", 422, live={**report, "zone": "UTC"}, headers=once, key=key)
    schedule = {"id": made["schedule"]["id"]}
    walk.send("schedules.schedule.list", 200, key=key)
    walk.send("schedules.schedule.get", 200, schedule, key=key)
    walk.send("schedules.schedule.set", 412, schedule, live=report, headers={"If-Match": '"7"'}, key=key)
    walk.send("schedules.schedule.set", 200, schedule, live=report, headers={"If-Match": '"1"'}, key=key)
    for number in range(20):
        if walk.try_to("schedules.schedule.set", (200, 409), schedule, live={**report, "name": f"Report {number}"}, key=key).status == 409:
            break
    walk.send("schedules.schedule.next", 200, schedule, query={"limit": 3}, key=key)
    for how in ("pause", "resume"):
        walk.send(f"schedules.schedule.{how}", 200, schedule, key=key)
    walk.send("schedules.schedule.trigger", 201, schedule, key=key)
    receiver.next()
    until = time.monotonic() + LETTER_SECONDS
    while walk.send("schedules.run.list", 200, schedule, key=key, keep=False)["runs"][0]["status"] != "completed":
        if time.monotonic() > until:
            raise TimeoutError("the run did not end")
        time.sleep(0.05)
    walk.send("schedules.run.list", 200, schedule, key=key)
    walk.send("schedules.schedule.delete", 204, schedule, key=key)


def workflows(walk, receiver, key):
    once = {"Idempotency-Key": "import-of-invoices"}
    fetch = {"name": "fetch", "task": {"targetUrl": receiver.url + "/fetch"}}
    # Its result has no such member, so the workflow fails.
    load = {"name": "load", "runAfter": ["fetch"], "task": {"body": "{{tasks.fetch.result.body.none}}"}}
    made = walk.send("workflows.workflow.create", 201, live={"tasks": [fetch, load]}, headers=once, key=key)
    walk.send("workflows.workflow.create", 422, live={"tasks": [fetch]}, headers=once, key=key)
    failing = {"id": made["workflow"]["id"]}
    receiver.next()
    until = time.monotonic() + LETTER_SECONDS
    while walk.send("workflows.workflow.get", 200, failing, key=key, keep=False)["workflow"]["status"] != "failed":
        if time.monotonic() > until:
            raise TimeoutError("the workflow did not fail")
        time.sleep(0.05)
    walk.send("workflows.workflow.get", 200, failing, key=key)
    walk.send("workflows.workflow.list", 200, key=key)
    # While its queue is paused what is retried cannot have failed again.
    imports = {"name": "imports"}
    walk.send("work.queue.pause", 200, imports, key=key, keep=False)
    walk.send("workflows.workflow.retry", 200, failing, key=key)
    walk.send("work.queue.resume", 200, imports, key=key, keep=False)
    later = {"name": "later", "task": {"delay": "30d"}}
    waiting = {"id": walk.send("workflows.workflow.create", 201, live={"tasks": [later]}, key=key, keep=False)["workflow"]["id"]}
    walk.send("workflows.workflow.retry", 409, waiting, key=key)
    for status in (200, 409):
        walk.send("workflows.workflow.cancel", status, waiting, key=key)


def until_over(walk, envelope, key):
    operation = {"id": envelope["operation"]["id"]}
    until = time.monotonic() + LETTER_SECONDS
    while walk.send("tasks.operation.get", 200, operation, key=key, keep=False)["operation"]["endedAt"] is None:
        if time.monotonic() > until:
            raise TimeoutError("the operation did not end")
        time.sleep(0.05)
    return operation


def until_delivered(walk, task, key):
    until = time.monotonic() + LETTER_SECONDS
    while walk.send("tasks.task.get", 200, task, key=key, keep=False)["task"]["webhook"]["status"] != "delivered":
        if time.monotonic() > until:
            raise TimeoutError("the webhook was not delivered")
        time.sleep(0.05)


def until_captured(walk, task, calls, key):
    """Waits for captures, which nothing acknowledges."""
    until = time.monotonic() + LETTER_SECONDS
    while len(walk.send("work.capture.list", 200, task, key=key, keep=False)["captures"]) < calls:
        if time.monotonic() > until:
            raise TimeoutError("the calls were not captured")
        time.sleep(0.05)


def signatures(walk, receiver):
    key = walk.server.key
    walk.server.call("POST", "/v1/tasks", {"targetUrl": receiver.url, "json": {"order": 17}})
    headers, body = receiver.next()
    wanted = walk.examples["requests"]["signing.signature.verify"]["headers"]
    live = {"headers": {name: headers[name] for name in wanted}, "body": body.decode()}
    walk.send("signing.signature.verify", 200, live=live, key=key)
    walk.send("signing.secret.get", 200, key=key)
    walk.send("signing.secret.rotate", 200, key=key)


def applications(walk, ann, team):
    app = walk.send("oauth.app.create", 201, team, key=ann)["app"]
    here = {**team, "appId": app["id"]}
    walk.send("oauth.app.list", 200, team, key=ann)
    walk.send("oauth.app.get", 200, here, key=ann)
    walk.send("oauth.app.update", 200, here, key=ann)
    secret = walk.send("oauth.app_secret.rotate", 200, here, key=ann)["app"]["clientSecret"]
    client = {"client_id": app["id"], "client_secret": secret}

    decision = walk.examples["requests"]["oauth.authorization.decide"]
    asked = {name: decision[name] for name in ("response_type", "redirect_uri", "state", "code_challenge", "code_challenge_method")} | {"client_id": app["id"]}
    origin = {"Origin": walk.server.url}
    sign_in = walk.send("oauth.session.create", 303, live={"client_id": app["id"]}, headers=origin)
    cookie = {"Cookie": sign_in.headers["Set-Cookie"].split(";")[0]}
    page = walk.send("oauth.authorization.ask", 200, query=asked, headers=cookie)
    token = re.search(r'name="page" value="([^"]+)"', page.text)[1]
    decided = walk.send("oauth.authorization.decide", 303, live={"client_id": app["id"], "team": team["teamId"], "page": token}, headers=origin | cookie)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(decided.headers["Location"]).query)["code"][0]
    tokens = walk.send("oauth.token.create", 200, live={"code": code, **client})
    walk.send("oauth.token.introspect", 200, live={"token": tokens["access_token"], **client})
    grants = walk.send("oauth.grant.list", 200, key=ann)["grants"]
    walk.send("oauth.team_grant.list", 200, team, key=ann)
    devices(walk, ann, team, client)
    walk.send("oauth.token.revoke", 200, live={"token": tokens["refresh_token"], **client})
    walk.send("oauth.grant.delete", 204, {"grantId": grants[0]["id"]}, key=ann)
    for operation in ("oauth.token.create", "oauth.token.introspect", "oauth.token.revoke", "oauth.device.ask"):
        walk.send(operation, 401, live={**client, "client_secret": "wrong"})
    walk.send("oauth.app.delete", 204, here, key=ann)


def devices(walk, ann, team, client):
    shown = {"userCode": walk.send("oauth.device.ask", 200, live=client)["user_code"]}
    walk.send("oauth.device.find", 200, live=shown, key=ann)
    walk.send("oauth.device.approve", 403, live={**shown, "teamId": ABSENT["teamId"]}, key=ann)
    walk.send("oauth.device.approve", 204, live={**shown, **team}, key=ann)
    for operation in ("oauth.device.find", "oauth.device.approve", "oauth.device.deny"):
        walk.send(operation, 404, live={**shown, **(team if operation.endswith("approve") else {})}, key=ann)
    shown = {"userCode": walk.send("oauth.device.ask", 200, live=client)["user_code"]}
    walk.send("oauth.device.deny", 204, live=shown, key=ann)


def views(walk):
    key = walk.server.key
    view = walk.send("work.view.save", 200, key=key)["view"]
    walk.send("work.view.list", 200, key=key)
    walk.send("work.view.save", 400, live={"page": "queues"}, key=key)
    walk.send("work.view.delete", 204, {"id": view["id"]}, key=key)


def listeners(walk, ann, team):
    asked = {"name": "laptop", "environment": "test", "scopes": ["jobs:read", "jobs:write"]}
    key = walk.send("keys.key.create", 201, team, body=asked, key=ann, keep=False)["apiKey"]["key"]
    listener = {"id": walk.send("work.listener.open", 201, key=key)["listener"]["id"]}
    walk.send("work.listener.list", 200, key=key)
    walk.send("work.listener.renew", 200, listener, key=key)
    walk.send("work.listener.release", 200, listener, key=key)
    walk.send("work.listener.open", 400, live={"leaseSeconds": 5}, key=key)
    limited = {"name": "words of the test", "environment": "test", "scopes": ["jobs:write"], "queues": ["words"]}
    limited = walk.send("keys.key.create", 201, team, body=limited, key=ann, keep=False)["apiKey"]["key"]
    walk.send("work.listener.open", 403, key=limited)
    walk.send("work.listener.remove", 204, listener, key=key)


def activity(walk):
    key = walk.server.key
    entries = walk.send("activity.event.list", 200, query={"type": "token.created", "limit": 1}, key=key)["activity"]
    walk.send("activity.checkpoint.get", 200, key=key)
    walk.send("activity.event.prove", 200, {"seq": entries[0]["seq"]}, key=key)
    walk.send("activity.consistency.prove", 200, query={"from": 1}, key=key)
    # The signed export contains everything; one entry and its proof are enough here.
    walk.send("activity.event.export", 200, query={"format": "jsonl"}, key=key, read="\n")
    walk.send("activity.event.export", 200, query={"format": "csv", "type": "token.created"}, key=key)
    walk.send("activity.event.stream", 200, query={"after": "0-0"}, key=key, read="data:")


def reports(walk, reporter, ann, team):
    leaked = walk.send("keys.key.create", 201, team, key=ann, keep=False)["apiKey"]["key"]
    report = [{**walk.examples["requests"]["keys.report.create"][0], "token": leaked}]
    body = json.dumps(report).encode()
    walk.sent.add("keys.report.create")
    walk.send("keys.report.create", 200, body=body, headers=reporter.headers(body))
    walk.send("keys.report.create", 401, body=body, headers=reporter.headers(body + b" "))
    walk.send("keys.report.create", 400, body=b"{}", headers=reporter.headers(b"{}"))


def passwords(walk, ann):
    ann = walk.send("auth.password.change", 200, key=ann)["accessToken"]
    walk.send("auth.password.forget", 202)
    walk.send("auth.password.reset", 204, live={"token": letter(walk, ANN, "reset")})
    password = walk.examples["requests"]["auth.password.reset"]["password"]
    ann = walk.send("auth.session.create", 200, live={"password": password}, keep=False)["accessToken"]
    walk.send("auth.session.create", 401)
    walk.send("auth.session.end", 204, key=ann)
    return walk.send("auth.session.create", 200, live={"password": password}, keep=False)["accessToken"]


# More than a team may have of anything.
MOST_OF_A_KIND = 200
# Well-formed ids that nothing has.
NOBODY = "0" * 25 + "1"
ABSENT = {
    "teamId": f"team_{NOBODY}", "keyId": f"key_{NOBODY}", "appId": f"app_{NOBODY}", "userId": f"user_{NOBODY}", "invitationId": f"inv_{NOBODY}",
    "sessionId": f"ses_{NOBODY}", "grantId": f"grant_{NOBODY}", "tokenId": f"tok_{NOBODY}", "id": "task_" + "0" * 28, "seq": "4000000000", "issuer": "nobody",
}


def refusals(walk, ann, team):
    """Answers by which each operation refuses a request in its own words."""
    own = walk.server.key
    another_origin = {"Origin": "https://elsewhere.example.com"}

    def credential(operation):
        needed = {name for each in walk.operations[operation][3].get("security", []) for name in each}
        return own if "api_key" in needed else ann if "session" in needed else None

    # What a path names does not exist.
    for operation, (described_in, template, _, described) in walk.operations.items():
        names = re.findall(r"\{(\w+)\}", template)
        answers = described["responses"].get("404", {})
        # Of a team that a person is not in nothing is said, not even whether it exists.
        if described_in == "paths" and names and names[-1] in ABSENT and names != ["teamId"] and "content" in answers:
            here = {name: team.get(name, ABSENT[name]) for name in names[:-1]} | {names[-1]: ABSENT[names[-1]]}
            walk.send(operation, 404, here, key=credential(operation))

    # Forms and parameters that are wrong.
    wrong = {"x": 1}
    for operation in ("auth.address.confirm", "auth.session.create", "auth.password.forget", "auth.password.reset", "auth.session.refresh", "auth.account.create"):
        walk.send(operation, 400, body=wrong)
    walk.send("teams.team.delete", 400, team, live={"confirm": "another name"}, key=ann)
    walk.send("teams.plan.set", 400, team, live={"plan": "platinum"}, key=ann)
    walk.send("tasks.task.create_batch", 400, body={"tasks": []}, key=own)
    strict = {"Prefer": "handling=strict"}
    for operation in ("tasks.task.delete", "tasks.task.cancel", "tasks.task.explain", "tasks.webhook.redeliver", "tasks.task.run_now", "tasks.task.unblock", "tasks.dead_letter.retry"):
        walk.send(operation, 400, {"id": walk.ended}, query={"forse": "true"}, headers=strict, key=own)
    walk.send("activity.consistency.prove", 400, key=own)
    walk.send("activity.event.export", 400, query={"format": "xml"}, key=own)
    walk.send("activity.event.prove", 400, {"seq": "first"}, key=own)

    # Credentials of another kind, and pages of another origin.
    for operation in ("teams.team.list", "teams.team.create", "teams.invitation.accept", "oauth.grant.list"):
        walk.send(operation, 403, key=own)
    walk.send("oauth.grant.delete", 403, {"grantId": ABSENT["grantId"]}, key=own)
    walk.send("teams.plan.set", 403, team, key=own)
    for operation in ("keys.own_key.get", "keys.own_key.revoke"):
        walk.send(operation, 403, key=ann)
    for operation in ("auth.address.confirm", "auth.session.create", "auth.password.change"):
        walk.send(operation, 403, live={"cookie": True}, headers=another_origin, key=ann if operation == "auth.password.change" else None)
    walk.send("auth.session.refresh", 403, body={}, headers=another_origin | {"Cookie": "waybill-refresh=wb_refresh_unknown"})
    walk.send("auth.session.refresh", 401, live={"refreshToken": "wb_refresh_unknown"})
    walk.send("auth.password.change", 401, live={"currentPassword": "not the password"}, key=ann)

    walk.send("teams.invitation.accept", 404, live={"token": "wb_inv_unknown"}, key=ann)

    # What the state does not allow.
    once = {"Idempotency-Key": "ci-again"}
    for status in (201, 409):
        walk.send("keys.key.create", status, team, headers=once, key=ann, keep=status == 409)
        walk.send("keys.api_key.create", status, headers=once, key=own, keep=status == 409)
    me = walk.send("account.person.get", 200, key=ann, keep=False)["user"]["id"]
    walk.send("teams.member.update", 409, {**team, "userId": me}, live={"role": "member"}, key=ann)
    walk.send("teams.member.delete", 409, {**team, "userId": me}, key=ann)
    public = walk.send("oauth.app.create", 201, team, live={"name": "Public", "type": "public"}, key=ann, keep=False)["app"]["id"]
    walk.send("oauth.app_secret.rotate", 409, {**team, "appId": public}, key=ann)
    full(walk, "oauth.app.create", team, lambda number: {"name": f"App {number}"}, ann)
    full(walk, "teams.invitation.create", team, lambda number: {"email": f"guest{number}@example.com"}, ann)


def full(walk, operation, team, live, key):
    """Creates until no more is allowed."""
    for number in range(MOST_OF_A_KIND):
        if walk.try_to(operation, (201, 409), team, live=live(number), key=key).status == 409:
            return
    walk.wrong.append(f"{operation}: there is no limit")


def errors(walk, ann, team, slow):
    """Answers that any operation may give, each by the simplest request that provokes it."""
    key = walk.server.key
    reader = walk.server.new_key("reader", ["tasks:read"])["key"]
    provoked = {
        400: walk.send("tasks.task.list", 400, key=key, headers={"X-API-Key": reader}, keep=False),
        403: walk.send("tasks.task.create", 403, key=reader, keep=False),
        404: walk.send("tasks.task.get", 404, {"id": "task_" + "0" * 28}, key=key, keep=False),
        409: walk.send("tasks.task.cancel", 409, {"id": walk.ended}, key=key, keep=False),
        413: walk.send("tasks.task.create", 413, body=b" " * (1024 * 1024 + 1), key=key, keep=False),
        415: walk.send("tasks.task.create", 415, headers={"Content-Encoding": "gzip"}, key=key, keep=False),
    }
    walk.send("tasks.task.create", 400, live={"maxRetries": 25}, key=key)
    for operation in ("oauth.token.create", "oauth.token.introspect", "oauth.token.revoke", "oauth.device.ask"):
        walk.send(operation, 400, body=b"token=a&token=b&grant_type=password")
    without_credentials(walk, provoked)
    walk.send("teams.plan.set", 200, team, live={"plan": "tiny"}, key=ann, keep=False)
    limited = walk.send("keys.key.create", 201, team, key=ann, keep=False)["apiKey"]["key"]
    while (answer := walk.answer("tasks.task.list", key=limited)).status == 200:
        pass
    provoked[429] = answer
    provoked[503] = log_away(walk, key)
    provoked[408] = slow.answer()
    for status, answer in provoked.items():
        walk.error(status, answer)


def without_credentials(walk, provoked):
    """Every operation that needs a credential refuses a request without one, all with the same message."""
    for operation, (_, template, _, described) in walk.operations.items():
        if any(name in requirement for requirement in described.get("security", []) for name in ("api_key", "session")):
            names = {name: "x" for name in re.findall(r"\{(\w+)\}", template)}
            answer = walk.send(operation, 401, names, body=b"{}" if "requestBody" in described else None, keep=False)
            first = provoked.setdefault(401, answer)
            if dict(first) != dict(answer):
                walk.wrong.append(f"{operation}: 401 {answer} instead of {first}")


def child_of(parent):
    """The child process of a process, from /proc: a slim machine has no `ps`."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if re.search(rf"^PPid:\s+{parent}$", status.read_text(), re.MULTILINE):
                return int(status.parent.name)
        except (FileNotFoundError, ProcessLookupError):
            # The process has ended meanwhile.
            continue
    raise KeyError("waybill up has no child")


def stopped(process):
    """Waits until all threads of a process have stopped: on a busy machine some keep running for a while."""
    until = time.monotonic() + AWAY_SECONDS
    while not all(re.search(r"^State:\s+T", thread.read_text(), re.MULTILINE) for thread in Path(f"/proc/{process}/task").glob("*/status")):
        if time.monotonic() > until:
            raise TimeoutError("nats-server does not stop")
        time.sleep(0.01)


def log_away(walk, key):
    """Stops nats-server for a while: first nothing can be sealed, then no credential is accepted."""
    nats = child_of(walk.server.process.pid)
    os.kill(nats, signal.SIGSTOP)
    try:
        stopped(nats)
        sealed = [{"targetUrl": "https://shop.example.com/orders", "headers": {"Authorization": "Bearer sk-17"}}]
        walk.send("tasks.task.create_batch", 503, live={"tasks": sealed}, key=key)
        until = time.monotonic() + AWAY_SECONDS
        while (answer := walk.answer("keys.own_key.get", key=key)).get("code") != "authorization_unavailable" and time.monotonic() < until:
            time.sleep(0.1)
        return answer
    finally:
        os.kill(nats, signal.SIGCONT)


class SlowBody:
    """A request whose body is never completed: it is refused after half a minute, during which the walk goes on."""

    def __init__(self, url, key):
        address = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=SLOW_SECONDS)
        self.connection.putrequest("POST", "/v1/tasks")
        for name, value in {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Content-Length": "100"}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders(b'{"targetUrl": ')

    def answer(self):
        with self.connection.getresponse() as answer:
            return json.load(answer)
