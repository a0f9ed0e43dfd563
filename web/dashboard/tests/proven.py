"""The activity is proven in the browser, and what was tampered with is said."""

import json

PROVE = "main .title button:has-text('Prove this page')"


def test_the_activity_is_proven_in_the_browser_and_goes_on_from_what_it_saw(world, browser):
    page = browser.signed_in(path="/ui/activity?stream=control")
    page.wait_for_selector("tbody tr")
    page.click(PROVE)
    page.wait_for_selector(".notice:has-text('are proven by the checkpoint of'):has-text('signed by the notary'):has-text('seen none before')")
    # What people did to their own accounts is in no team's tree.
    rows, others = page.locator("tbody tr").count(), page.locator("tbody td:last-child:has-text('of a person')").count()
    proven = page.locator("tbody tr .status.good:has-text('proven')").count()
    assert proven > 1 and proven + others == rows, (proven, others, rows)
    world.call("POST", "/v1/tokens", {"name": "proven", "value": "x"})
    browser.open(page, "/ui/activity", "tbody tr:has-text('proven')")
    page.click(PROVE)
    page.wait_for_selector(".notice:has-text('Nothing of the'):has-text('was changed')")


def test_an_activity_that_was_tampered_with_is_not_proven(world, browser):
    page = browser.signed_in(path="/ui/")
    # On the first page, whatever other tests have done.
    world.call("POST", "/v1/tokens", {"name": "forged", "value": "x"})

    def forge(route):
        answer = route.fetch()
        told = answer.json()
        for entry in told["activity"]:
            if entry["type"] == "token.created":
                entry["actor"] = "user:user_01k00000000000000000000000"
                break
        route.fulfill(response=answer, body=json.dumps(told))

    page.route("**/v1/activity?*", forge)
    browser.open(page, "/ui/activity?stream=control", "tbody tr:has-text('forged')")
    page.click(PROVE)
    page.wait_for_selector("tbody tr:has-text('not proven: actor')")
    page.wait_for_selector(".failure:has-text('1 of')")
    # The page is as it was, but this browser remembers another history.
    page.unroute("**/v1/activity?*")
    browser.open(page, "/ui/activity?stream=control", "tbody tr")
    page.click(PROVE)
    page.wait_for_selector(".notice:has-text('are proven')")
    seen = f"waybill-seal-{world.team}"
    page.evaluate("(name) => localStorage.setItem(name, JSON.stringify({...JSON.parse(localStorage.getItem(name)), root: '00'.repeat(32)}))", seen)
    page.click(PROVE)
    page.wait_for_selector(".failure:has-text('the history was changed')")
    page.click("button:has-text('Forget what this browser has seen')")
    page.click(PROVE)
    page.wait_for_selector(".notice:has-text('seen none before')")
