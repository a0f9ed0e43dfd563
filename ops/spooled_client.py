"""What the official Python client of Spooled does with Waybill; ops/spooled runs it in the environment of that client."""

import os
import threading
import time
from datetime import datetime, timedelta, timezone

from spooled import SpooledClient
from spooled.errors import AuthenticationError, AuthorizationError, ConflictError, NotFoundError, QuotaExceededError, ValidationError, is_lease_expired
from spooled.grpc.client import GrpcCompleteRequest, GrpcDequeueRequest, ProcessRequest, SpooledGrpcClient
from spooled.realtime.sse import SSEClient
from spooled.realtime.websocket import SubscriptionFilter as WebSocketFilter
from spooled.realtime.websocket import WebSocketClient, WebSocketConnectionOptions
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
    told = client.jobs.history(held.id)
    assert [one.event_type for one in told] == ["created", "claimed", "completed"], told
    assert told[1].worker_id == "w", told


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
    changed = client.queues.update_config("steady", {"max_retries": 1, "default_timeout": 60, "rate_limit": 6000, "settings": {"a": 1, "backoff_base_seconds": 0.1}})
    assert (changed.max_retries, changed.default_timeout, changed.rate_limit, changed.enabled) == (1, 60, 6000, True), changed
    kept = client.queues.update_config("steady", {"settings": {"b": 2}})
    assert (kept.max_retries, kept.settings) == (1, {"a": 1, "b": 2, "backoff_base_seconds": 0.1}), kept
    assert client.queues.get("steady") == kept
    made = client.jobs.create({"queue_name": "steady", "payload": 1})
    job = client.jobs.get(made.id)
    assert (job.max_retries, job.timeout_seconds) == (1, 60), "what the queue says, since nobody else does"
    refused(ConflictError, client.queues.delete, "steady")
    client.jobs.cancel(made.id)
    client.queues.delete("steady")
    assert client.queues.get("steady").settings == {}
    refused(NotFoundError, client.queues.get, "nowhere")
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


def schedules(client):
    made = client.schedules.create(
        {
            "name": "Every second",
            "cron_expression": "* * * * * *",
            "timezone": "+05:30",
            "queue_name": "often",
            "payload_template": {"job_type": "tick", "n": 2**62},
            "priority": 5,
            "tags": {"a": 1},
            "metadata": {"owner": "ops"},
        }
    )
    assert made.next_run_at is not None, made
    until(lambda: client.schedules.get(made.id).run_count >= 2, "it has run twice")
    held = claim(client, "often")
    assert held.payload == {"job_type": "tick", "n": 2**62}, held
    client.jobs.complete(held.id, {"worker_id": "w", "lease_id": held.lease_id})

    def completed():
        runs = client.schedules.get_history(made.id, limit=100)
        return [run.status for run in runs if run.job_id == held.id] == ["completed"]

    until(completed, "the run is told as completed")
    assert not client.schedules.pause(made.id).is_active
    changed = client.schedules.update(made.id, {"name": "Yearly", "cron_expression": "0 0 1 1 *", "description": "once"})
    assert (changed.name, changed.description, changed.is_active, changed.queue_name) == ("Yearly", "once", False, "often"), changed
    assert [one.id for one in client.schedules.list({"is_active": False, "queue_name": "often"})] == [made.id]
    triggered = client.schedules.trigger(made.id)
    assert client.schedules.get_history(made.id)[0].job_id == triggered.job_id
    assert client.schedules.resume(made.id).is_active
    wrong = refused(ValidationError, client.schedules.create, {"name": "x", "cron_expression": "never", "queue_name": "often", "payload_template": 1})
    assert wrong.details[0]["field"] == "cron_expression", wrong.details
    client.schedules.delete(made.id)
    refused(NotFoundError, client.schedules.get, made.id)


def workflows(client):
    made = client.workflows.create(
        {
            "name": "Import",
            "metadata": {"run": 7},
            "jobs": [
                {"key": "fetch", "queue_name": "import", "payload": {"n": 1}, "max_retries": 0},
                {"key": "load", "queue_name": "import", "payload": {"n": 2}, "depends_on": ["fetch"]},
            ],
        }
    )
    ids = {one.key: one.job_id for one in made.job_ids}
    links = client.workflows.jobs.get_dependencies(ids["load"])
    assert ([one.job_id for one in links.dependencies], links.dependencies_met) == ([ids["fetch"]], False), links
    held = claim(client, "import")
    assert held.id == ids["fetch"]
    client.jobs.fail(held.id, {"worker_id": "w", "lease_id": held.lease_id, "error": "it broke"})
    until(lambda: client.workflows.get(made.workflow_id).status == "failed", "the workflow has failed")
    steps = {one.key: one for one in client.workflows.jobs.list(made.workflow_id)}
    assert (steps["fetch"].status, steps["fetch"].error.message, steps["load"].status) == ("deadletter", "it broke", "cancelled"), steps
    assert client.workflows.retry(made.workflow_id).status == "pending"
    for key in ("fetch", "load"):
        held = claim(client, "import")
        assert held.id == ids[key], "they keep their ids and their order"
        client.jobs.complete(held.id, {"worker_id": "w", "lease_id": held.lease_id, "result": {"did": key}})
    until(lambda: client.workflows.get(made.workflow_id).status == "completed", "the workflow has completed")
    seen = client.workflows.get(made.workflow_id)
    assert (seen.total_jobs, seen.completed_jobs, seen.progress_percent, seen.metadata) == (2, 2, 100, {"run": 7}), seen
    assert client.workflows.jobs.get(made.workflow_id, ids["load"]).result == {"did": "load"}
    assert [one.id for one in client.workflows.list({"status": "completed"})] == [made.workflow_id]
    refused(ConflictError, client.workflows.retry, made.workflow_id)
    refused(ConflictError, client.workflows.cancel, made.workflow_id)


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


def live(client, url, key):
    """Server-sent events and a WebSocket see the same life of a job; a stream of one job ends with it."""
    seen = {"sse": [], "ws": []}
    sse = SSEClient(url, key, queue="live", auto_reconnect=False)
    sse.connect()

    def listen():
        for event in sse.events():
            if event.type.startswith("job."):
                seen["sse"].append((event.type, event.data))

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    socket = WebSocketClient(WebSocketConnectionOptions(ws_url=url.replace("http", "ws", 1), token=key, auto_reconnect=False))
    socket.on_event(lambda event: seen["ws"].append((event.type, event.data)))
    socket.connect()
    socket.subscribe(WebSocketFilter(queue="live"))
    socket.ping()
    until(lambda: len(seen["ws"]) >= 2, "the first ping, and the answer to another")
    made = client.jobs.create({"queue_name": "live", "payload": {"n": 1}})
    held = claim(client, "live")
    client.jobs.complete(held.id, {"worker_id": "w", "lease_id": held.lease_id})
    wanted = ["job.created", "job.status_changed", "job.completed", "job.status_changed"]
    for name in seen:
        until(lambda: [kind for kind, _ in seen[name] if kind != "ping"] == wanted, (name, seen))
        told = [data for kind, data in seen[name] if kind != "ping"]
        assert all(data["job_id"] == made.id and data["queue_name"] == "live" for data in told), told
        assert (told[1]["old_status"], told[3]["new_status"]) == ("pending", "completed"), told
    socket.disconnect()
    sse.close()
    one = [event.data["new_status"] for event in SSEClient(url, key, job_id=made.id).events()]
    assert one == ["completed"], one
    refused(AuthenticationError, SSEClient(url, "sp_live_000000000000000000000000000000").connect)


def grpc(client, url, key):
    with SpooledGrpcClient(url.removeprefix("http://"), key) as far:
        assert far.wait_for_ready(SECONDS)
        made = far.queue.enqueue("far", {"n": 1, "deep": {"list": [1, "a", None]}}, priority=3, idempotency_key="far-1", tags={"zone": "a"})
        assert made.created and not far.queue.enqueue("far", {}, idempotency_key="far-1").created
        held = far.queue.dequeue("far", "w", batch_size=5).jobs[0]
        assert (held.id, held.status, held.priority, held.payload["deep"]) == (made.job_id, "processing", 3, {"list": [1, "a", None]}), held
        assert far.queue.renew_lease(held.id, "w", lease_id=held.lease_id, extension_secs=60).success
        refused(ValidationError, lambda: far.queue.complete(held.id, "w", lease_id=""))
        stale = refused(ConflictError, lambda: far.queue.complete(held.id, "w", lease_id="stale"))
        assert is_lease_expired(stale), stale
        assert far.queue.complete(held.id, "w", {"sent": True}, lease_id=held.lease_id).success
        again = refused(ConflictError, lambda: far.queue.complete(held.id, "w", lease_id=held.lease_id))
        assert "already completed" in str(again) and not is_lease_expired(again), again
        assert far.queue.get_job(held.id).job.result == client.jobs.get(held.id).result == {"sent": True}
        far.queue.enqueue("far", {"n": 2})
        held = far.queue.dequeue("far", "w").jobs[0]
        failed = far.queue.fail(held.id, "w", "for good", retry=False, lease_id=held.lease_id)
        assert (failed.success, failed.will_retry) == (True, False), failed
        stats = far.queue.get_queue_stats("far")
        assert (stats.completed, stats.deadletter, stats.total) == (1, 1, 2), stats
        refused(NotFoundError, far.queue.get_job, "00000000-0000-0000-0000-000000000000")
        registered = far.workers.register("far", "box", worker_id="far-1", metadata={"zone": "a"})
        assert (registered.worker_id, registered.lease_duration_secs, registered.heartbeat_interval_secs) == ("far-1", 300, 10), registered
        assert far.workers.heartbeat("far-1").acknowledged and not far.workers.heartbeat("nobody").acknowledged
        assert far.workers.deregister("far-1").success
        streams(far)
    with SpooledGrpcClient(url.removeprefix("http://"), "sp_live_000000000000000000000000000000") as nobody:
        refused(AuthenticationError, lambda: nobody.queue.get_queue_stats("far"))


def streams(far):
    ids = [far.queue.enqueue("stream", {"n": n}).job_id for n in range(3)]
    stream = far.queue.stream_jobs("stream", "w")
    for wanted in ids:
        job = next(stream)
        assert job.id == wanted, (job, ids)
        far.queue.complete(job.id, "w", lease_id=job.lease_id)
    stream.cancel()
    far.queue.enqueue("process", {"n": 1})
    process = far.queue.process_jobs()
    process.send(ProcessRequest(dequeue=GrpcDequeueRequest(queue_name="process", worker_id="w")))
    answers = process.receive()
    job = next(answers).job
    process.send(ProcessRequest(complete=GrpcCompleteRequest(job_id=job.id, worker_id="w", lease_id=job.lease_id)))
    assert next(answers).complete.success
    process.send(ProcessRequest(dequeue=GrpcDequeueRequest(queue_name="process", worker_id="w")))
    nothing = next(answers).error
    assert "NO_JOBS" in str(nothing), nothing
    process.end()
    assert list(answers) == []


def main():
    url = os.environ["WAYBILL_URL"]
    with SpooledClient(api_key="sp_live_000000000000000000000000000000", base_url=url) as nobody:
        refused(AuthenticationError, nobody.jobs.get_stats)
    with SpooledClient(api_key=os.environ["WAYBILL_KEY"], base_url=url) as client:
        key = os.environ["WAYBILL_KEY"]
        for part in (health, jobs, letters, queues, worker, schedules, workflows, keys, sessions, organizations, administration):
            part(client)
            print(f"  {part.__name__}: as Spooled's client wants it", flush=True)
        for part in (live, grpc):
            part(client, url, key)
            print(f"  {part.__name__}: as Spooled's client wants it", flush=True)


main()
