"""Getting around: the palette, the shortcuts, the check-list of the first run, and several tasks at once."""

from browser import is_live
from world import PASSWORD


def test_the_palette_goes_acts_and_finds_any_id(world, browser):
    task = world.send(delay="1h", queue="palette")
    page = browser.signed_in(path="/ui/tasks")
    page.fill("input[name=queue]", "typed")
    page.keyboard.press("Control+k")
    page.wait_for_selector("dialog#palette[open]")
    assert page.evaluate("document.activeElement.matches('#palette input')")
    page.keyboard.type("go dead")
    page.wait_for_selector("#palette [aria-selected=true]:has-text('Go to Dead letters')")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Dead letters')")
    assert page.locator("dialog").count() == 0
    page.keyboard.press("Control+k")
    page.keyboard.insert_text(f" {task} ")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"code:text('{task}')")
    page.wait_for_selector("button:has-text('Cancel')")
    page.keyboard.press("Control+k")
    page.keyboard.type("cancel")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sentence:has-text('Cancelled')")
    page.keyboard.press("Control+k")
    page.keyboard.type("palette")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Queue palette')")
    page.keyboard.press("Control+k")
    page.keyboard.type("nothing is called like this")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#palette li:has-text('Search tasks for')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_every_page_of_the_menu_has_a_shortcut_that_the_help_lists(world, browser):
    page = browser.signed_in()
    names = page.locator("nav a").evaluate_all("(all) => all.map((one) => [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join('').trim())")
    page.keyboard.press("?")
    help_text = page.inner_text("dialog#help").split("\n")
    keys = {}
    for name in names:
        page.wait_for_selector(f"#help div:has(dd:text-is('Go to {name}'))")
        keys[name] = page.inner_text(f"#help div:has(dd:text-is('Go to {name}')) dt").split()
    assert "Go to a page, do something, find an id" in " ".join(help_text)
    page.keyboard.press("Escape")
    for name in ["Queues", "Dead letters", "Tasks"]:
        for key in keys[name]:
            page.keyboard.press(key)
        page.wait_for_selector(f"h1:text-is('{name}')")
    assert len({tuple(chord) for chord in keys.values()}) == len(names), keys


def test_selected_tasks_are_cancelled_and_each_refusal_is_listed(world, browser):
    waiting = [world.send(queue="bulk", delay="1h") for _ in range(3)]
    ended = world.send(queue="bulk", delay="1h")
    page = browser.signed_in(path="/ui/tasks?queue=bulk")
    page.wait_for_selector("text=4 tasks match")
    for key in "jx":
        page.keyboard.press(key)
    assert page.is_checked(f"tr[data-row='{ended}'] input")
    for key in "jjj":
        page.keyboard.press(key)
    page.keyboard.press("X")
    page.wait_for_selector("text=4 tasks of this page selected")
    page.uncheck(f"tr[data-row='{waiting[0]}'] input")
    world.call("POST", f"/v1/tasks/{ended}/cancel")
    page.click("button:has-text('Cancel them')")
    page.wait_for_selector("dialog#cancel-tasks[open] h2:text('Cancel 3 tasks?')")
    browser.allow("409")
    page.click("dialog button.danger")
    page.wait_for_selector(".notice:has-text('of 3 tasks cancelled')")
    for task in waiting[1:]:
        page.wait_for_selector(f"tr[data-row='{task}'] .status:has-text('cancelled')")
    assert world.call("GET", f"/v1/tasks/{waiting[0]}")["task"]["status"] == "delayed", "one that was not selected was cancelled"
    page.check(f"tr[data-row='{waiting[0]}'] input")
    page.goto(world.url + "/ui/tasks?queue=other")
    page.wait_for_selector(".empty")
    assert page.locator(".selection").count() == 0
    done = world.send(queue="bulk")
    while world.call("GET", f"/v1/tasks/{done}?wait=5")["task"]["status"] != "completed":
        pass
    browser.open(page, "/ui/tasks?queue=bulk&status=completed", "tbody tr")
    page.check("tbody input")
    page.click("button:has-text('Cancel them')")
    page.click("dialog button.danger")
    page.wait_for_selector(".notice:has-text('0 of 1 task cancelled, 1 refused')")
    page.wait_for_selector(f".notice li:has-text('…{done[-10:]}: ')")


def test_the_first_steps_tick_themselves_off(world, browser):
    page = browser.signed_in()
    bearer = world.call("POST", "/v1/auth/login", {"email": world.owner, "password": PASSWORD})["accessToken"]
    team = world.call("POST", "/teams", {"name": "Beginners"}, bearer)["team"]["id"]
    browser.open(page, f"/ui/?team={team}", "[data-step=key][data-done=no]")
    is_live(page)
    page.wait_for_selector("h2:text('First steps: 0 of 5 done')")
    key = world.call("POST", f"/teams/{team}/apikeys", {"name": "all", "preset": "full_access"}, bearer)["apiKey"]["key"]
    page.wait_for_selector("[data-step=key][data-done=yes]")
    task = {"targetUrl": world.sink.url + "/hello?fail=1", "success": "2xx", "retryBackoff": ["1s"], "onCompleteUrl": world.sink.url + "/hook"}
    world.call("POST", "/v1/tasks", task, key)
    for step in ["task", "retry", "callback"]:
        page.wait_for_selector(f"[data-step={step}][data-done=yes]")
    assert page.locator("[data-step=restricted][data-done=no]").count() == 1
    page.reload()
    page.wait_for_selector("h2:text('First steps: 4 of 5 done')")
    world.call("POST", f"/teams/{team}/apikeys", {"name": "narrow", "preset": "task_poster"}, bearer)
    page.wait_for_selector(".first-run", state="detached")
    page.reload()
    page.wait_for_selector("h2:text('What is there?')")
    assert page.locator(".first-run").count() == 0
