"""What a team has beside tasks and keys: its vault, its applications, its signing secret, and how much of its plan it uses."""

import hashlib
import hmac
import json
import time
import urllib.request

from browser import is_live, until

VALUE = "Bearer sk-vault-value-that-nobody-sees"


def test_a_credential_goes_into_the_vault_and_is_shown_by_nothing(world, browser):
    browser.allow("400")
    page = browser.signed_in(path="/ui/vault")
    page.click("main button:has-text('Store a credential')")
    page.fill("#name", "mail service")
    page.fill("#value", VALUE)
    page.fill("#allowedHosts", "https://x")
    page.press("#name", "Enter")
    page.wait_for_selector("#error-allowedHosts")
    page.fill("#allowedHosts", "127.0.0.1, mail.example.com")
    page.press("#name", "Enter")
    page.wait_for_selector("tr:has-text('mail service'):has-text('127.0.0.1, mail.example.com'):has-text('by ann')")
    page.wait_for_selector("dialog", state="detached")
    assert VALUE not in page.content() and VALUE not in page.evaluate("JSON.stringify({ ...localStorage }) + location.href")
    token = next(one for one in world.call("GET", "/v1/tokens")["tokens"] if one["name"] == "mail service")
    browser.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("button[aria-label='Copy reference to mail service']")
    until(page, "navigator.clipboard.readText().then((text) => text === '{{%s}}')" % token["id"])
    page.click("button[aria-label='Rotate mail service']")
    page.fill("#value", "Bearer another")
    page.press("#value", "Enter")
    page.wait_for_selector("tr:has-text('mail service'):has-text('version 2')")
    page.click("tr:has-text('mail service') a.row-link")
    page.wait_for_selector("h1:text('Credential mail service')")
    kek = world.call("GET", f"/v1/tokens/{token['id']}")["token"]["kek"]
    page.wait_for_selector(f"div:has(dt:text-is('Lies under the key')) code:text-is('{kek}')")
    page.wait_for_selector("tr:has-text('rotated it')")
    page.go_back()
    page.wait_for_selector("tr:has-text('mail service')")
    is_live(page)
    world.call("POST", "/v1/tokens", {"name": "stored elsewhere", "value": "x"})
    page.wait_for_selector(".fresh:has-text('1 new credential')")
    page.keyboard.press(".")
    page.wait_for_selector("tr:has-text('stored elsewhere'):has-text('any host')")
    page.click("button[aria-label='Revoke mail service']")
    page.click("dialog button.danger")
    page.wait_for_selector("tr:has-text('mail service')", state="detached")
    assert all(one["name"] != "mail service" for one in world.call("GET", "/v1/tokens")["tokens"])


def test_the_signing_secret_is_shown_on_demand_and_a_signature_is_checked(world, browser):
    page = browser.signed_in(path="/ui/webhooks")
    page.wait_for_selector(".figures")

    def now():
        return world.call("GET", "/v1/signing-secret")["signingSecret"]["secret"]

    secret = now()
    assert secret not in page.content()
    page.click("button:has-text('Show the secret')")
    assert page.inner_text(".secret code") == secret
    at = str(int(time.time()))
    mac = hmac.new(secret.encode(), f"{at}.".encode() + b"hello", hashlib.sha256).hexdigest()
    page.fill("#headers", f"X-AsyncQueue-Signature: t={at},v1={mac}\nHost: here")
    page.fill("#body", "hello")
    page.click("button:has-text('Check it')")
    page.wait_for_selector(".notice:has-text('It is signed as it should be'):has-text('with the current secret')")
    page.fill("#body", "hello!")
    page.click("button:has-text('Check it')")
    page.wait_for_selector(".notice:has-text('not signed as it should be')")
    page.select_option("#overlap", "3600")
    page.click("button:has-text('Rotate the secret')")
    page.wait_for_selector("text=signs as well until")
    assert page.inner_text(".secret code") == now() != secret
    page.click("button:has-text('Hide')")
    assert now() not in page.content() and secret not in page.content()
    before = world.call("GET", "/v1/tasks?kind=all&webhook=delivered&limit=1")["pagination"]["total"]
    world.send(onCompleteUrl=world.sink.url + "/hook")
    page.wait_for_selector(f".figures a:has-text('{before + 1}'):has-text('delivered')")


def test_usage_shows_what_the_plan_allows_and_what_is_taken(world, browser):
    bearer = world.call("POST", "/v1/auth/login", {"email": world.owner, "password": "a phrase of seven plain words"})["accessToken"]
    request = urllib.request.Request(f"{world.url}/teams/{world.team}/plan", headers={"Authorization": f"Bearer {bearer}"})
    plan = json.load(urllib.request.urlopen(request))["plan"]
    page = browser.signed_in(path="/ui/usage")
    page.wait_for_selector(f"h2:text('Plan {plan['name']}')")
    for name, label in [("keys", "API keys"), ("members", "Members"), ("tokens", "Credentials of the vault")]:
        told = page.inner_text(f"div:has(> dt:has-text('{label}')) dd")
        assert told.strip().startswith(str(plan[name]["used"])), (label, told)
        assert ("limit" in plan[name]) == (page.locator(f"meter[aria-label='{label}']").count() == 1), told
    page.click("dt a:text('Members')")
    page.wait_for_selector("h2:text('Members')")
