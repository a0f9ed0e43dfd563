"""Getting around: the palette, the shortcuts, the check-list of the first run, and several tasks at once."""

from browser import is_live, until


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
