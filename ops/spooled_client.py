"""What the official Python client of Spooled does with Waybill; ops/spooled runs it in the environment of that client."""

import os
import threading
import time
from datetime import datetime, timedelta, timezone

from spooled import SpooledClient
from spooled.errors import AuthenticationError, AuthorizationError, ConflictError, NotFoundError, QuotaExceededError, ValidationError, is_lease_expired
from spooled.worker import SpooledWorker

SECONDS = 20


def refused(kind, call, *arguments):
    try:
        call(*arguments)
    except kind as error:
        return error
    raise AssertionError(f"{call} was not refused")


def until(condition, what):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def claim(client, queue):
    found = []

    def is_there():
        found[:] = client.jobs.claim({"queue_name": queue, "worker_id": "w", "lease_duration_secs": 30}).jobs
        return found

    until(is_there, f"nothing to claim in {queue}")
    return found[0]


def jobs(client):
    made = client.jobs.create(
        {"queue_name": "mail", "payload": {"job_type": "welcome", "n": 2**62}, "priority": 9, "idempotency_key": "one", "tags": {"a": 1}, "timeout_seconds": 60}
    )
    assert made.created
    assert client.jobs.create({"queue_name": "mail", "payload": 2, "idempotency_key": "one"}) == made.model_copy(update={"created": False})
    job = client.jobs.get(made.id)
    assert (job.status, job.priority, job.tags, job.timeout_seconds, job.payload["n"]) == ("pending", 9, {"a": 1}, 60, 2**62), job
    bulk = client.jobs.bulk_enqueue({"queue_name": "mail", "jobs": [{"payload": n} for n in range(3)], "default_priority": -5})
    assert (bulk.success_count, bulk.failure_count) == (3, 0)
    page = client.jobs.list({"queue_name": "mail", "limit": 2, "order_by": "priority", "order_dir": "desc"})
    assert page.has_more and page[0].id == made.id and page[0].job_type == "welcome", page
    assert [found.id for found in client.jobs.list({"q": "WELC", "status": ["pending", "scheduled"], "tag": "a"})] == [made.id]
    later = client.jobs.create({"queue_name": "mail", "payload": {"later": True}, "scheduled_at": datetime.now(timezone.utc) + timedelta(days=30)})
    assert client.jobs.boost_priority(later.id, 50).new_priority == 50
    stats = client.jobs.get_stats()
    assert (stats.pending, stats.scheduled, stats.total) == (4, 1, 5), stats
    client.jobs.cancel(later.id)
    assert [(one.id, one.status) for one in client.jobs.batch_status([later.id, made.id])] == [(later.id, "cancelled"), (made.id, "pending")]
    refused(ConflictError, client.jobs.cancel, later.id)
    refused(NotFoundError, client.jobs.get, "00000000-0000-0000-0000-000000000000")
    wrong = refused(ValidationError, client.jobs.create, {"queue_name": "a b", "payload": 1})
    assert wrong.details[0]["field"] == "queue_name", wrong.details

    held = claim(client, "mail")
    assert held.id == made.id, "the highest priority comes first"
    client.jobs.heartbeat(held.id, {"worker_id": "w", "lease_id": held.lease_id, "lease_duration_secs": 60})
    assert client.jobs.complete(held.id, {"worker_id": "w", "lease_id": held.lease_id, "result": {"sent": True}}).success
    again = refused(ConflictError, client.jobs.complete, held.id, {"worker_id": "w", "lease_id": held.lease_id})
    assert "already completed" in str(again), again
    assert client.jobs.get(held.id).result == {"sent": True}


def letters(client):
    made = client.jobs.create({"queue_name": "letters", "payload": 1, "max_retries": 0})
    for _ in range(2):
        held = claim(client, "letters")
        assert (held.id, held.retry_count) == (made.id, 0)
        client.jobs.fail(held.id, {"worker_id": "w", "lease_id": held.lease_id, "error": "it broke"})
        until(lambda: client.jobs.get(made.id).status == "deadletter", "a dead letter")
        stale = refused(ConflictError, client.jobs.fail, held.id, {"worker_id": "w", "lease_id": held.lease_id, "error": "twice"})
        assert not is_lease_expired(stale)
        assert [letter.id for letter in client.jobs.dlq.list({"queue_name": "letters"})] == [made.id]
        assert client.jobs.retry(made.id).status == "pending"
    held = claim(client, "letters")
    client.jobs.fail(held.id, {"worker_id": "w", "lease_id": held.lease_id, "error": "for good"})
    until(lambda: client.jobs.get(made.id).last_error == "for good", "a dead letter")
    assert client.jobs.dlq.retry({"job_ids": [made.id]}).retried_jobs == [made.id]
    held = claim(client, "letters")
    client.jobs.fail(held.id, {"worker_id": "w", "lease_id": held.lease_id, "error": "again"})
    until(lambda: client.jobs.get(made.id).status == "deadletter", "a dead letter")
    assert client.jobs.dlq.purge({"queue_name": "letters", "confirm": True}).purged_count == 1
    refused(NotFoundError, client.jobs.get, made.id)


def queues(client):
    assert "mail" in [queue.queue_name for queue in client.queues.list()]
    assert client.queues.pause("mail", "moving").paused
    assert not client.jobs.claim({"queue_name": "mail", "worker_id": "w"}).jobs
    assert client.queues.resume("mail").resumed
    stats = client.queues.get_stats("mail")
    assert (stats.pending_jobs, stats.completed_jobs_24h) == (3, 1), stats


def worker(client):
    worker = SpooledWorker(client, "loop", concurrency=3, poll_interval=0.05, worker_id="loop-1", metadata={"zone": "a"})
    fails = {1}

    @worker.process
    def handle(context):
        if context.payload["n"] in fails:
            fails.discard(context.payload["n"])
            raise RuntimeError("the first time")
        return {"doubled": 2 * context.payload["n"]}

    ids = [client.jobs.create({"queue_name": "loop", "payload": {"n": n}}).id for n in range(6)]
    thread = threading.Thread(target=worker.start, daemon=True)
    thread.start()
    until(lambda: all(one.status == "completed" for one in client.jobs.batch_status(ids)), "all are done")
    seen = client.workers.get("loop-1")
    assert (seen.status, seen.worker_type, seen.metadata, seen.queue_names) == ("healthy", "python", {"zone": "a"}, ["loop"]), seen
    assert [one.id for one in client.workers.list()] == ["loop-1"]
    worker.stop()
    thread.join(SECONDS)
    assert not thread.is_alive(), "the worker has stopped"
    assert client.workers.get("loop-1").status == "offline"
    done = [client.jobs.get(id) for id in ids]
    assert [job.result["doubled"] for job in done] == [0, 2, 4, 6, 8, 10]
    assert [job.retry_count for job in done] == [0, 1, 0, 0, 0, 0]


def keys(client):
    made = client.api_keys.create({"name": "worker", "queues": ["mail"], "rate_limit": 500})
    shown = client.api_keys.get(made.id)
    assert (shown.name, shown.queues, shown.rate_limit, shown.is_active) == ("worker", ["mail"], 500, True), shown
    assert made.id in [key.id for key in client.api_keys.list()]
    with SpooledClient(api_key=made.key, base_url=os.environ["WAYBILL_URL"]) as limited:
        assert limited.jobs.get_stats().total > 0
        refused(AuthorizationError, limited.jobs.create, {"queue_name": "letters", "payload": 1})
        refused(AuthorizationError, limited.api_keys.list)
        assert client.api_keys.update(made.id, {"name": "renamed", "is_active": False}).name == "renamed"
        refused(AuthenticationError, limited.jobs.get_stats)
        assert client.api_keys.update(made.id, {"is_active": True}).is_active
        assert limited.jobs.get_stats().total > 0
        client.api_keys.delete(made.id)
        refused(AuthenticationError, limited.jobs.get_stats)
    refused(NotFoundError, client.api_keys.get, made.id)


def sessions(client):
    url = os.environ["WAYBILL_URL"]
    tokens = client.auth.login({"api_key": os.environ["WAYBILL_KEY"]})
    assert (tokens.token_type, tokens.expires_in, tokens.refresh_expires_in) == ("Bearer", 86400, 2073600), tokens
    assert client.auth.validate({"token": tokens.access_token}).valid
    assert not client.auth.validate({"token": "rubbish"}).valid
    with SpooledClient(access_token=tokens.access_token, base_url=url) as session:
        me = session.auth.me()
        assert me.organization_id == client.auth.me().organization_id and me.organization.plan_tier == "enterprise", me
        assert session.jobs.get_stats().total > 0
        assert client.auth.refresh({"refresh_token": tokens.refresh_token}).access_token
        session.auth.logout()
        refused(AuthenticationError, session.auth.me)
    refused(AuthenticationError, client.auth.refresh, {"refresh_token": tokens.refresh_token})
    assert client.auth.check_email("ann@example.com").signup_enabled


def organizations(client):
    url = os.environ["WAYBILL_URL"]
    slug = client.organizations.generate_slug("Acme Inc.").slug
    assert slug == "acme-inc" and client.organizations.check_slug(slug).available
    made = client.organizations.create({"name": "Acme Inc.", "slug": slug, "billing_email": "billing@acme.example"})
    assert (made.organization.slug, made.organization.plan_tier) == (slug, "free"), made
    assert not client.organizations.check_slug(slug).available
    refused(ConflictError, client.organizations.create, {"name": "Acme Inc.", "slug": slug})
    with SpooledClient(api_key=made.api_key.key, base_url=url) as acme:
        id = made.organization.id
        assert [one.id for one in acme.organizations.list()] == [id]
        assert acme.organizations.update(id, {"settings": {"theme": "dark"}}).settings["theme"] == "dark"
        assert acme.organizations.get_members(id) == []
        token = acme.organizations.get_webhook_token()
        assert token.webhook_token.startswith("whk_") and id in token.webhook_url, token
        assert acme.organizations.regenerate_webhook_token().webhook_token != token.webhook_token
        usage = acme.organizations.get_usage()
        assert (usage.plan, usage.usage.api_keys.current, usage.usage.api_keys.limit) == ("free", 1, 2), usage
        acme.api_keys.create({"name": "second"})
        over = refused(QuotaExceededError, acme.api_keys.create, {"name": "third"})
        assert "api keys limit reached (2/2)" in str(over), over
        assert not acme.billing.get_status().has_stripe_customer
        refused(NotFoundError, acme.organizations.get, client.auth.me().organization_id)
        acme.organizations.delete(id)
        refused(AuthenticationError, acme.auth.me)


def administration(client):
    with SpooledClient(api_key=os.environ["WAYBILL_KEY"], admin_key=os.environ["WAYBILL_ADMIN_KEY"], base_url=os.environ["WAYBILL_URL"]) as admin:
        made = admin.admin.create_organization({"name": "Big Corp", "slug": "big-corp", "plan_tier": "pro"})
        id = made.organization.id
        assert id in [one.id for one in admin.admin.list_organizations()]
        assert admin.admin.update_organization(id, {"custom_limits": {"max_queues": 7}}).custom_limits == {"max_queues": 7}
        assert admin.admin.get_organization(id).plan_tier == "pro"
        assert admin.admin.create_api_key(id, {"name": "k"}).key.startswith("sp_live_")
        assert [plan.tier for plan in admin.admin.list_plans()] == ["free", "starter", "pro", "enterprise"]
        admin.admin.delete_organization(id)
        refused(NotFoundError, admin.admin.get_organization, id)


def health(client):
    seen = client.health.get()
    assert (seen.status, seen.database, seen.cache) == ("healthy", True, True), seen
    assert client.health.liveness() and client.health.readiness()


def main():
    url = os.environ["WAYBILL_URL"]
    with SpooledClient(api_key="sp_live_000000000000000000000000000000", base_url=url) as nobody:
        refused(AuthenticationError, nobody.jobs.get_stats)
    with SpooledClient(api_key=os.environ["WAYBILL_KEY"], base_url=url) as client:
        parts = [health, jobs, letters, queues, worker, keys, sessions, organizations, administration]
        for part in parts:
            part(client)
            print(f"  {part.__name__}: as Spooled's client wants it", flush=True)


main()
