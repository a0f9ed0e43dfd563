"""Signing in and up, teams, roles, and keys that are shown once."""

import json
import re
import time

from accessible import look
from browser import is_live, until
from world import PASSWORD, World


def type_into(page, text):
    page.keyboard.type(text)


def tab_to(page, selector):
    """Goes to an element as a person without a mouse does."""
    for _ in range(80):
        if page.evaluate("(selector) => document.activeElement?.matches(selector) ?? false", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by Tab")


def test_by_keyboard_alone_one_signs_in_and_creates_a_key_which_is_gone_once_its_dialog_is_closed(world, browser):
    page = browser.open(browser.page())
    tab_to(page, "#email")
    type_into(page, world.owner)
    tab_to(page, "#password")
    type_into(page, PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("nav")
    page.keyboard.press("g")
    page.keyboard.press("k")
    page.wait_for_selector("h1:text('Keys')")
    page.wait_for_selector("table")
    tab_to(page, "main button.primary")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog#create-key[open]")
    tab_to(page, "#name")
    type_into(page, "made by keyboard")
    page.keyboard.press("Enter")
    # No handle on the element: it would keep the element, and the key in it, in the memory of the page.
    secret = page.inner_text("#new-key")
    assert re.fullmatch(r"wb_live_\w{40,}", secret), secret
    page.keyboard.press("Escape")
    assert page.is_visible("#new-key"), "Escape closed the dialog of a key that nobody has stored"
    tab_to(page, "#secret input[type=checkbox]")
    page.keyboard.press("Space")
    tab_to(page, "#secret button.primary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#secret", state="detached")
    page.wait_for_selector("tr:has-text('made by keyboard')")
    assert not in_heap(browser, page, secret), "the key is still in the memory of the page"
    where = page.evaluate(
        """(secret) => {
            const parts = {
                document: document.documentElement.outerHTML,
                fields: [...document.querySelectorAll("input, textarea")].map((field) => field.value).join(" "),
                local: JSON.stringify({ ...localStorage }), session: JSON.stringify({ ...sessionStorage }),
                history: JSON.stringify(history.state), cookie: document.cookie, address: location.href,
                requests: performance.getEntries().map((entry) => entry.name).join(" "),
            };
            return Object.keys(parts).filter((name) => parts[name].includes(secret));
        }""",
        secret,
    )
    assert where == [], f"the key is still in: {where}"
    assert world.call("GET", "/v1/key", bearer=secret)["apiKey"]["name"] == "made by keyboard"


def in_heap(browser, page, text):
    """Whether a snapshot of the heap holds the text, after a collection."""
    session = browser.context.new_cdp_session(page)
    chunks = []
    session.on("HeapProfiler.addHeapSnapshotChunk", lambda event: chunks.append(event["chunk"]))
    session.send("HeapProfiler.enable")
    # What the browser itself does with a closed dialog takes a moment.
    for _ in range(10):
        chunks.clear()
        session.send("HeapProfiler.collectGarbage")
        session.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
        snapshot = "".join(chunks)
        assert "made by keyboard" in snapshot, "the snapshot is empty"
        if text not in snapshot:
            break
        page.wait_for_timeout(300)
    session.detach()
    return text in snapshot


def test_a_key_is_rotated_and_revoked(world, browser):
    name = "to be rotated"
    world.call("POST", f"/teams/{world.team}/apikeys", {"name": name, "scopes": ["tasks:read"]})
    page = browser.signed_in(path="/ui/keys")
    page.click(f"button[aria-label='Rotate {name}']")
    page.select_option("#overlap", "3600")
    page.click("dialog button.primary")
    successor = page.inner_text("#new-key")
    page.check("#secret input[type=checkbox]")
    page.click("#secret button.primary")
    page.wait_for_selector("text=accepted until")
    page.locator(f"button[aria-label='Revoke {name}']").last.click()
    page.click("dialog button.danger")
    page.wait_for_selector(".notice:has-text('No gateway accepts')")
    browser.allow("401")
    status = page.evaluate("(key) => fetch('/v1/key', { headers: { authorization: `Bearer ${key}` } }).then((answer) => answer.status)", successor)
    assert status == 401, status
    page.select_option("select[name=status]", "revoked")
    page.wait_for_selector(f"tr:has-text('{name}') .revoked")
    assert "status=revoked" in page.url


def test_a_key_that_is_wider_than_used_is_made_narrower(world, browser):
    wanted = {"name": "too wide", "scopes": ["tasks:read", "queues:read", "tokens:read"], "allowedSources": ["127.0.0.0/8"]}
    key = world.call("POST", f"/teams/{world.team}/apikeys", wanted)["apiKey"]
    for _ in range(3):
        world.call("GET", "/v1/tasks?limit=1", bearer=key["key"])
    world.restart()  # uses are written down once in a minute, and at the end
    page = browser.signed_in(path="/ui/keys")
    page.wait_for_selector("tr:has-text('too wide') .spark[aria-label^='3 in the last 30 days']")
    page.click("tr:has-text('too wide') a.row-link")
    page.wait_for_selector(".sentence:has-text('It used 1 of 3 scopes within 30 days')")
    page.wait_for_selector("tr:has-text('tasks:read'):has-text('read tasks'):has-text('3')")
    page.wait_for_selector("tr:has-text('queues:read'):has-text('never')")
    page.wait_for_selector("tr:has-text('GET /v1/tasks'):has-text('2xx')")
    look(browser, page, "key")
    # How much of it there was on each day.
    page.wait_for_selector("h2:text('The last 30 days')")
    page.wait_for_selector(".chart polyline")
    page.click("main button:has-text('Make a narrower one')")
    page.wait_for_selector("dialog#create-key[open]")
    assert page.input_value("#name") == "too wide" and page.input_value("#allowedSources") == "127.0.0.0/8"
    assert page.eval_on_selector_all("[name=scope]:checked", "(all) => all.map((one) => one.value)") == ["tasks:read"]
    page.click("dialog button.primary")
    narrower = page.inner_text("#new-key")
    page.check("#secret input[type=checkbox]")
    page.click("#secret button.primary")
    page.wait_for_selector("#secret", state="detached")
    assert world.call("GET", "/v1/key", bearer=narrower)["apiKey"]["scopes"] == ["tasks:read"]
    page.click("main .title button:has-text('Revoke')")
    page.click("dialog button.danger")
    page.wait_for_selector(".notice:has-text('No gateway accepts too wide')")
    page.wait_for_selector("main p:has-text('revoked')")


def test_a_refused_form_says_why_beside_the_field(world, browser):
    browser.allow("400")
    page = browser.signed_in(path="/ui/keys")
    page.click("main button.primary")
    page.fill("#name", "wrong network")
    page.fill("#allowedSources", "not-a-network")
    page.click("dialog button.primary")
    page.wait_for_selector("#error-allowedSources")
    assert page.evaluate("document.activeElement.id") == "allowedSources"
    page.fill("#allowedSources", "")
    page.click("dialog button.primary")
    page.wait_for_selector("#new-key")


def test_a_newcomer_signs_up_confirms_and_makes_a_first_team(world, browser):
    page = browser.open(browser.page(), "/ui/sign-up")
    page.fill("#email", "new@example.com")
    page.click("button[type=submit]")
    page.wait_for_selector("text=I have the token")
    until = time.monotonic() + 10
    while not (found := re.findall(r"wb_confirm_\w+", world.log.read_text())):
        assert time.monotonic() < until, world.log.read_text()
        page.wait_for_timeout(50)
    browser.open(page, f"/ui/confirm#token={found[-1]}")
    assert page.input_value("#token") == found[-1]
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("h1:text('Your first team')")
    page.fill("#name", "Newcomers")
    page.click("button[type=submit]")
    page.wait_for_selector("h1:text('Overview')")
    page.wait_for_selector("text=No task was sent yet")


def test_a_wrong_password_is_refused_in_words(world, browser):
    browser.allow("401")
    page = browser.open(browser.page())
    page.fill("#email", world.owner)
    page.fill("#password", "something else")
    page.click("button[type=submit]")
    page.wait_for_selector(".failure:has-text('Wrong e-mail address or password')")
    assert page.is_visible(".failure code:text('invalid_credentials')")


def test_an_ended_session_is_signed_in_again_over_the_page(world, browser):
    browser.allow("401")
    page = browser.signed_in(path="/ui/tasks?status=failed")
    is_live(page)
    bearer = world.call("POST", "/v1/auth/login", {"email": world.owner, "password": PASSWORD})["accessToken"]
    for session in world.call("GET", "/v1/auth/sessions", bearer=bearer)["sessions"]:
        if not session["current"]:
            world.call("DELETE", f"/v1/auth/sessions/{session['id']}", bearer=bearer)
    page.wait_for_selector("text=Your session has ended")
    page.fill("#email", world.owner)
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    page.wait_for_selector("h1:text('Tasks')")
    assert page.url.endswith("/ui/tasks?status=failed"), page.url


def test_signing_out_in_one_tab_signs_out_all(world, browser):
    first = browser.signed_in()
    second = browser.open(browser.page(), "/ui/tasks", "nav")
    first.click("text=Sign out")
    second.wait_for_selector("h1:text('Sign in')")
    first.wait_for_selector("h1:text('Sign in')")


def test_sign_in_offers_what_the_installation_does(world, browser):
    methods = world.call("GET", "/v1/meta")["meta"]["signIn"]
    assert methods["letters"] and methods["issuers"] == []
    page = browser.page()
    offered = {"signUp": "off", "letters": True, "issuers": [{"name": "acme", "start": "/v1/auth/oidc/acme/start"}]}
    page.route("**/v1/meta", lambda route: route.fulfill(json={"meta": {"signIn": offered}}))
    browser.open(page, "/ui/")
    page.wait_for_selector("a:text('Sign in with acme')[href='/v1/auth/oidc/acme/start']")
    page.wait_for_selector("text=Accounts are made by the operator here.")
    assert page.locator("a:text('I have no account yet')").count() == 0
    # Back from the issuer, the cookie alone signs in, and the page is the overview.
    page.unroute("**/v1/meta")
    page.fill("#email", world.owner)
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    page.wait_for_selector("nav")
    page.evaluate("localStorage.setItem('waybill-signed-in', 'no')")
    browser.open(page, "/ui/signed-in", "nav")
    page.wait_for_selector("h1:text('Overview')")
    assert page.url == f"{world.url}/ui/", page.url


def test_a_viewer_sees_the_pages_and_can_write_nothing(world, browser):
    task = world.send(delay="1h")
    yearly = {"when": "cron(0 0 1 1 *)", "task": {"targetUrl": world.sink.url + "/yearly"}}
    schedule = world.call("POST", "/v1/schedules", yearly)["schedule"]["id"]
    flow = world.call("POST", "/v1/workflows", {"name": "Seen", "tasks": [{"name": "one", "task": {"targetUrl": world.sink.url, "delay": "1h"}}]})["workflow"]["id"]
    world.call("PUT", "/v1/workers/seen-1", {})
    page = browser.signed_in(world.viewer)
    before = len(browser.writes())
    for path in ["/ui/", "/ui/tasks", f"/ui/tasks/{task}", f"/ui/tasks/{task}/replay", "/ui/tasks/new", "/ui/queues", "/ui/queues/default", "/ui/schedules", f"/ui/schedules/{schedule}", "/ui/workers", "/ui/workers/seen-1", "/ui/workflows", f"/ui/workflows/{flow}", "/ui/limits", "/ui/targets", "/ui/targets/a.example", "/ui/operations", "/ui/operations/new", "/ui/events", "/ui/apps", "/ui/system", "/ui/dead-letters", "/ui/dead-letters/list", "/ui/activity", "/ui/keys", "/ui/keys/key_4fG7aB2x", "/ui/vault", "/ui/webhooks", "/ui/usage"]:
        browser.open(page, path)
        until(page, "document.querySelector('.loading') === null")
        buttons = page.locator("main button:enabled:not(:has-text('Copy'))")
        for n in range(buttons.count()):
            if n < buttons.count() and buttons.nth(n).is_visible():
                buttons.nth(n).click()
        page.keyboard.press("Control+Enter")
    writes = [write for write in browser.writes()[before:] if not write.endswith("/v1/auth/refresh")]
    assert writes == [], writes
    browser.open(page, f"/ui/tasks/{task}")
    assert page.wait_for_selector("button:has-text('Cancel')").is_disabled()
    page.wait_for_selector("text=you are viewer here")
    page.wait_for_selector("text=Bodies and headers are not shown to viewers")
    page.goto(world.url + "/ui/keys")
    page.wait_for_selector("text=Keys are for admins and owners")
    page.goto(world.url + "/ui/system")
    page.wait_for_selector("text=Processes, partitions and streams are for operators")


def test_a_team_invites_changes_roles_and_ends_sessions(world, browser):
    page = browser.signed_in(path="/ui/team")
    page.wait_for_selector("tr:has-text('vic'):has-text('viewer')")
    page.click("main button:has-text('Invite')")
    page.fill("#email", "nobody")
    page.evaluate("document.querySelector('#email').type = 'text'")
    browser.allow("400", "409")
    page.press("#email", "Enter")
    page.wait_for_selector("#error-email")
    page.fill("#email", "guest@example.com")
    page.select_option("#role", "viewer")
    page.press("#email", "Enter")
    page.click("button[aria-label='Withdraw the invitation of guest@example.com']")
    page.click("dialog button.danger")
    page.wait_for_selector("text=Nobody is invited at the moment.")
    page.click("button[aria-label='Change role of vic']")
    page.select_option("#role", "member")
    page.click("dialog button.primary")
    page.wait_for_selector("tr:has-text('vic') td:has-text('member')")
    page.click("button[aria-label='Change role of vic']")
    page.select_option("#role", "viewer")
    page.click("dialog button.primary")
    page.wait_for_selector("tr:has-text('vic') td:has-text('viewer')")
    other = world.call("POST", "/v1/auth/login", {"email": world.owner, "password": PASSWORD})["accessToken"]
    page.wait_for_selector(".fresh:has-text('1 new entry')")
    page.keyboard.press(".")
    session = next(one for one in world.call("GET", "/v1/auth/sessions", bearer=other)["sessions"] if one["current"])["id"]
    page.click(f"tr[data-row='{session}'] button")
    page.click("dialog button.danger")
    page.wait_for_selector(f"tr[data-row='{session}']", state="detached")
    page.wait_for_selector("tr:has-text('this one')")
    page.click("button[aria-label='Leave the team']")
    page.click("dialog button.danger")
    page.wait_for_selector("dialog .failure")


def test_a_team_is_renamed_and_deleted_by_its_name(world, browser):
    bearer = world.call("POST", "/v1/auth/login", {"email": world.owner, "password": PASSWORD})["accessToken"]
    # The stream of a team that is gone is refused once, before the page has moved to another team.
    browser.allow("403")
    team = world.call("POST", "/teams", {"name": "Shortlived"}, bearer)["team"]["id"]
    page = browser.signed_in(path=f"/ui/team?team={team}")
    page.click("main button:text-is('Rename')")
    page.fill("#name", "Short lived")
    page.press("#name", "Enter")
    page.wait_for_selector("h1:text-is('Team Short lived')")
    page.click("main button:has-text('Delete the team')")
    assert page.is_disabled("dialog button.danger")
    page.fill("dialog input", "Short lived")
    page.click("dialog button.danger")
    page.wait_for_selector("h1:text-is('Overview')")
    teams = [one["id"] for one in world.call("GET", "/teams", bearer=bearer)["teams"]]
    assert team not in teams, teams


def test_a_viewer_sees_the_team_and_cannot_change_it(world, browser):
    page = browser.signed_in(world.viewer, path="/ui/team")
    page.wait_for_selector("tr:has-text('ann'):has-text('owner')")
    page.wait_for_selector("text=This takes the role admin or a higher one; you are viewer here.")
    for name in ["Invite", "Rename", "Delete the team", "Who sees bodies"]:
        assert page.is_disabled(f"main .title button:has-text('{name}')"), name
    for name in ["Change role of ann", "Remove ann", "Change role of vic"]:
        assert page.is_disabled(f"button[aria-label='{name}']"), name
    assert page.locator("h2:text('Invitations')").count() == 0


def test_an_owner_lets_viewers_see_bodies_and_takes_it_back(world, browser):
    task = world.send("/hello", json={"what": "only for some eyes"})
    page = browser.signed_in(path="/ui/team")
    for choice, there, is_shown in [("yes", "no", True), ("no", "yes", False)]:
        page.click("main .title button:has-text('Who sees bodies')")
        page.wait_for_selector("#viewers")
        assert page.input_value("#viewers") == there
        page.select_option("#viewers", choice)
        page.click("dialog button.primary")
        page.wait_for_selector("dialog[open]", state="detached")
        seen = world.call("GET", f"/v1/tasks/{task}", bearer=world.session(world.viewer))["task"]
        assert ("only for some eyes" in json.dumps(seen)) == is_shown, seen
        assert ("withheld" in seen) != is_shown, seen


def test_a_sign_in_link_signs_in_once_and_its_owner_gives_an_address_before_inviting_anybody(world, browser):
    # One that nobody has signed in to: where a team has people, a link makes no owner.
    folder = world.folder / "of-a-newcomer"
    folder.mkdir()
    browser.world = World(world.program, folder)
    try:
        walk_in_by_a_link(browser.world, browser)
    finally:
        browser.world.stop()
        browser.world = world


def walk_in_by_a_link(world, browser):
    browser.allow("400", "409")
    link = world.link()
    token = link.split("#token=")[1]
    page = browser.page()
    page.goto(link)
    page.wait_for_selector("nav")
    assert page.url.rstrip("/").endswith("/ui"), page.url
    kept = page.evaluate("JSON.stringify([location.href, history.state, { ...localStorage }, { ...sessionStorage }, document.cookie])")
    assert token not in kept, kept
    history = browser.context.new_cdp_session(page).send("Page.getNavigationHistory")["entries"]
    assert not any(token in entry["url"] for entry in history), history
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector(".failure:has-text('used already')")
    assert token not in page.url, page.url
    look(browser, page, "sign-in-link-used")
    browser.open(page, "/ui/team")
    page.click("main button:has-text('Invite')")
    page.wait_for_selector("h1:text('Your e-mail address and password')")
    look(browser, page, "own-address")
    page.fill("#email", "local@example.com")
    page.fill("#password", "password")
    page.click("button[type=submit]")
    page.wait_for_selector("#error-password")
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("td:has-text('local@example.com')")
    page.click("main button:has-text('Invite')")
    page.fill("dialog #email", "second@example.com")
    page.press("dialog #email", "Enter")
    page.wait_for_selector("tr:has-text('second@example.com')")
    page.click("text=Sign out")
    page.wait_for_selector("h1:text('Sign in')")
    page.fill("#email", "local@example.com")
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    page.wait_for_selector("nav")
    assert token not in world.log.read_text()
