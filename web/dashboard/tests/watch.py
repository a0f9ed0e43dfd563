"""Events as they come, applications and grants, and the system."""

import json
import urllib.parse
import urllib.request

from browser import until
from world import PASSWORD


def test_events_are_followed_filtered_and_paused_without_losing_count(world, browser):
    page = browser.signed_in(path="/ui/events?queue=tailed")
    page.wait_for_selector("#tail-state:has-text('Live.')")
    task = world.send(queue="tailed")
    world.send(queue="elsewhere")
    page.wait_for_selector("tr[data-row] code:text-is('task.succeeded')")
    assert page.locator("tbody tr").count() == 3, page.inner_text("tbody")
    page.keyboard.press(".")
    page.wait_for_selector("button:has-text('Paused: 0 came meanwhile')")
    world.send(queue="tailed")
    page.wait_for_selector("button:has-text('Paused: 3 came meanwhile')")
    assert page.locator("tbody tr").count() == 3, "it moved while it was paused"
    page.keyboard.press(".")
    until(page, "document.querySelectorAll('tbody tr').length === 6")
    page.select_option("select[name=type]", "task.created")
    page.wait_for_selector("#tail-state:has-text('Live.')")
    assert "type=task.created" in page.url
    world.send(queue="tailed")
    page.wait_for_selector("tbody tr")
    assert page.locator("tbody tr").count() == 1
    page.go_back()
    browser.open(page, f"/ui/events?task={task}", "tbody tr")
    page.wait_for_selector("#tail-state:has-text('The task has ended')")
    assert page.locator("tbody tr code:text-is('task.created')").count() == 1


def test_events_begin_at_a_position_or_at_a_time(world, browser):
    first = world.send(queue="history")
    page = browser.signed_in(path="/ui/events?queue=history&from=0")
    page.wait_for_selector(f"tr[data-row={first}] code:text-is('task.succeeded')")
    last = page.locator("tbody tr").first.get_attribute("data-position")
    between = page.evaluate("new Promise((done) => setTimeout(() => done(new Date().toISOString()), 20))")
    second = world.send(queue="history")
    page.wait_for_selector(f"tr[data-row={second}] code:text-is('task.succeeded')")
    page.click(f"tr[data-position='{last}'] a.row-link")
    page.wait_for_selector(f"tr[data-position='{last}']")
    page.wait_for_selector(f"tr[data-row={second}]")
    browser.open(page, "/ui/events?queue=history&from=" + urllib.parse.quote(between), f"tr[data-row={second}]")
    assert page.locator(f"tr[data-row={first}]").count() == 0, "what happened before that time is shown"
    page.fill("[name=from]", "yesterday or so")
    page.press("[name=from]", "Enter")
    page.wait_for_selector("#error-from:has-text('a time such as')")


def test_a_gap_is_a_row(world, browser):
    page = browser.signed_in()
    body = 'id: 50\nevent: gap\ndata: {"after":7,"firstAvailable":50}\n\n'
    page.route("**/v1/events?after=7", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body))
    browser.open(page, "/ui/events?from=7", "tr.gap:has-text('before position 50')")


def form(world, path, **fields):
    """Sends a form as an application does; its answer."""
    with urllib.request.urlopen(world.url + path, urllib.parse.urlencode(fields).encode(), timeout=10) as answer:
        return json.loads(answer.read())


def test_an_application_is_registered_and_its_secret_shown_once(world, browser):
    page = browser.signed_in(path="/ui/apps")
    page.click("main .title button")
    page.fill("#name", "nightly reports")
    page.fill("#redirectUris", "http://shop.example/back\nhttps://shop.example/back#x")
    page.wait_for_selector("#wrong-redirects li:has-text('plain http is for')")
    page.wait_for_selector("#wrong-redirects li:has-text('must not have a fragment')")
    page.fill("#redirectUris", "https://shop.example/back")
    page.wait_for_selector("#wrong-redirects li", state="detached")
    page.check("[name=scope][value='tasks:read']")
    page.click("dialog button.primary")
    secret = page.inner_text("#client-secret")
    page.keyboard.press("Escape")
    assert page.is_visible("#client-secret"), "Escape closed the dialog of a secret that nobody has stored"
    page.check("#app-secret input[type=checkbox]")
    page.click("#app-secret button.primary")
    page.wait_for_selector("#app-secret", state="detached")
    assert secret not in page.content()
    row = "tr:has-text('nightly reports')"
    app = page.get_attribute(row, "data-row")
    token = form(world, "/oauth/token", grant_type="client_credentials", client_id=app, client_secret=secret)
    assert token["scope"] == "tasks:read", token
    page.click("button[aria-label='Change nightly reports']")
    page.check("[name=scope][value='queues:read']")
    page.click("dialog button.primary")
    page.wait_for_selector(f"{row}:has-text('2 scopes')")
    page.click("button[aria-label='New secret for nightly reports']")
    page.click("dialog button.danger")
    page.wait_for_selector("#client-secret")
    assert page.inner_text("#client-secret") != secret
    page.check("#app-secret input[type=checkbox]")
    page.click("#app-secret button.primary")
    page.click("button[aria-label='Remove nightly reports']")
    page.click("dialog button.danger")
    page.wait_for_selector(row, state="detached")


def test_a_person_withdraws_what_they_granted(world, browser):
    back = "http://127.0.0.1:9/back"
    session = world.session(world.owner)
    app = world.call("POST", f"/teams/{world.team}/apps", {"name": "a granted one", "scopes": ["tasks:read"], "type": "public", "redirectUris": [back]}, session)["app"]["id"]
    page = browser.signed_in(path="/ui/apps")
    page.wait_for_selector("text=You gave no application access")
    asked = {"response_type": "code", "client_id": app, "redirect_uri": back, "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256"}
    code = grant(world, browser, asked)
    form(world, "/oauth/token", grant_type="authorization_code", client_id=app, code=code, redirect_uri=back, code_verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    page.reload()
    page.wait_for_selector("[aria-label='Your grants'] tr:has-text('a granted one'):has-text('tasks:read')")
    page.wait_for_selector("[aria-label='Grants in the team'] tr:has-text('a granted one'):has-text('ann'):has-text('tasks:read')")
    page.click("button[aria-label='Withdraw a granted one']")
    page.click("dialog button.danger")
    page.wait_for_selector("text=You gave no application access")
    page.wait_for_selector("text=Nobody let an application into the team")
    world.call("DELETE", f"/teams/{world.team}/apps/{app}", bearer=session)


def grant(world, browser, asked):
    """Signs in on the way to the consent page, as a browser does, and allows what is asked for; the code that the application gets."""
    page = browser.context.new_page()
    page.goto(f"{world.url}/oauth/authorize?{urllib.parse.urlencode(asked)}")
    if page.locator("[name=password]").count():
        page.fill("[name=email]", world.owner)
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_selector("[name=decision]")
    # Nobody listens where the application would: that it was sent there is all that counts.
    with page.expect_request(lambda request: request.url.startswith(asked["redirect_uri"])) as sent:
        page.click("[name=decision][value=allow]", no_wait_after=True)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(sent.value.url).query)["code"][0]
    page.close()
    return code


def test_the_system_says_what_is_served(world, browser):
    page = browser.signed_in(path="/ui/system")
    page.wait_for_selector(".sentence:text-is('All of it is served.')")
    page.wait_for_selector("tr:has-text('Accepting tasks') .status:has-text('ready')")
    page.wait_for_selector("dt:text-is('Used')")
    page.wait_for_selector("p:has-text('The server stores')")
    for role in ["gateway", "projector"]:
        page.wait_for_selector(f"[aria-label=Processes] tr:has-text('{role}') meter")
    for role in ["gateway", "worker", "projector"]:
        page.wait_for_selector(f"[aria-label=Processes] tr:has-text('{role}')")
    page.wait_for_selector("[aria-label=Partitions] tr:has-text('0') .status:has-text('serving')")
    for stream in ["CONTROL", "TASKS", "USAGE", "CAPTURES"]:
        page.wait_for_selector(f"[aria-label=Streams] tr:has-text('{stream}')")
    answer = {"status": "degraded", "reads": {"ready": True}, "creations": {"ready": False, "code": "log_full", "reason": "The log is full"}, "revocations": {"ready": True}, "problems": [{"code": "log_full", "reason": "The log is full"}]}
    page.route("**/readyz?verbose", lambda route: route.fulfill(status=200, content_type="application/json", body=json.dumps(answer)))
    page.wait_for_selector(".sentence:text-is('It is degraded.')")
    page.wait_for_selector("tr:has-text('Accepting tasks'):has-text('not served'):has-text('log_full')")
