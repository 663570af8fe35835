"""The pages in Chromium: every page and every action, by mouse, by key, and without a script."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from sprockets.logbook.ticketing._model import TrackerIssue
from tests.tickets.pages import chromium, seeding
from tests.tickets.pages.chromium import WIDE


@pytest.fixture(name="browse")
def _browse(driver, visit):
    """Serve a store, and return what looks at its pages; nothing may have gone wrong in them."""
    browsers = []

    def browse(store, **options):
        browsers.append(Browser(driver, visit(store, **options)))
        return browsers[-1]

    driver.get_log("browser")
    yield browse
    for each in browsers:
        each.leave()
    problems = [
        each
        for each in driver.get_log("browser")
        if each["level"] == "SEVERE"
        and not any(text in each["message"] for browser in browsers for text in browser.expected)
    ]
    assert problems == []


class Browser:
    """Looks at pages, presses what is on them, and says what it sees."""

    def __init__(self, driver, visitor):
        self.driver = driver
        self.url = visitor.served.url
        self.expected = []
        self.look(WIDE)

    def leave(self):
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        self.driver.delete_all_cookies()
        self.driver.get("about:blank")

    def look(self, size, scheme="light", motion="no-preference"):
        chromium.look(self.driver, size, scheme, motion)

    def go(self, path):
        self.driver.get(self.url + path)

    @property
    def path(self):
        return self.driver.current_url.removeprefix(self.url)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments):
        """Wait until *script* returns something true, and return it."""
        return chromium.wait(self.driver, script, *arguments)

    def one(self, selector):
        return self.wait("document.querySelector(arguments[0])", selector)

    def all(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])]", selector)

    def text(self, selector):
        return self.one(selector).text

    def click(self, selector):
        element = self.one(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def fill(self, selector, text):
        """Type *text* into a field, once it is to be seen."""
        shown = "(each => each?.checkVisibility() && each)(document.querySelector(arguments[0]))"
        self.wait(shown, selector).send_keys(text)

    @contextmanager
    def leaving(self):
        """Wait for the next page after what is done within."""
        self.run("window.isOld = true")
        yield
        self.wait("!window.isOld && document.readyState === 'complete'")

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    @property
    def notice(self):
        return self.text("[data-notice]")


def _now():
    return datetime.now(UTC).replace(tzinfo=None)


def _row(browser):
    return browser.run("return document.querySelector('[data-row].current')?.dataset.ticket")


def _paths(store):
    key = store.of["order_fails"]
    occurrence = store.get_ticket(key).last_occurrence
    broken = store.get_ticket(store.of["body_is_no_json"]).last_occurrence
    return {
        "list": "/",
        "all": "/?q=",
        "ticket": f"/tickets/{key}",
        "regressed": f"/tickets/{store.of['mail_bounces']}",
        "occurrence": f"/occurrences/{broken.occurrence_id}",
        "request": f"/requests/{occurrence.details.request_id}",
        "request unknown": "/requests/0000",
        "requests": "/requests",
        "merge": f"/tickets/{key}/merge",
        "delete": f"/tickets/{key}/delete",
        "help": "/help",
        "nothing found": "/?q=no-such-text",
        "search wrong": "/?q=lvl:error",
        "not found": "/tickets/99999",
    }


def test_every_page_is_accessible_and_fits(seeded, browse, check):
    """At 1280 and at 390, light and dark: axe has nothing to say, and nothing is cut off."""
    browser = browse(seeded)
    browser.expected.append("/tickets/99999")
    found = []

    for name, path in _paths(seeded).items():
        browser.go(path)
        if name == "list":
            browser.click(".tickets tbody tr:nth-child(2) input")
        elif name == "ticket":
            browser.click("details.menu:not(.more) summary[data-key=i]")
        elif name == "help":
            browser.press("?")
        found += [(name, *each) for each in check()]
        browser.look(WIDE)

    assert found == []


def test_pages_with_little_on_them_are_accessible(empty, browse, check):
    """An empty store, and what people see who may only read."""
    empty.record_entries(seeding.entries_of(seeding.everything_is_hostile, "x" * 300))
    browser = browse(empty, user=None, tokens=[], anonymous="anywhere")
    found = []

    for path in ("/?q=is:solved", "/", "/tickets/1"):
        browser.go(path)
        found += [(path, *each) for each in check()]
        browser.look(WIDE)

    assert found == []


def test_keys_move_open_and_act(seeded, browse):
    """The keys j k o x s i / ? u do on the list what the help says."""
    browser = browse(seeded)
    browser.go("/")
    keys = browser.run(
        "return [...document.querySelectorAll('[data-row]')].map(row => row.dataset.ticket)"
    )

    browser.press("j")
    first = _row(browser)
    browser.press("j", "j", "k")
    second = _row(browser)
    with browser.leaving():
        browser.press("o")
    opened = browser.path
    with browser.leaving():
        browser.press("u")
    browser.press("/")
    is_searching = browser.run("return document.activeElement.id")
    browser.press("j", "\ue00c")  # into the field, and Escape
    typed = browser.run("return document.getElementById('q').value")
    browser.press("?")
    is_helping = browser.run("return document.getElementById('keys').open")
    browser.press("\ue00c")
    browser.press("j", "x", "j", "x")
    selected = browser.text("[data-selected]")
    with browser.leaving():
        browser.press("s")
    solved = browser.notice
    browser.press("j")
    third = _row(browser)
    with browser.leaving():
        browser.press("i")

    assert (first, second, opened) == (keys[0], keys[1], f"/tickets/{keys[1]}")
    assert (is_searching, is_helping, selected) == ("q", True, "2 selected")
    assert typed.endswith("j")
    assert solved == "2 tickets are solved"
    assert browser.notice == "The ticket is ignored"
    assert [seeded.get_ticket(int(key)).status.state for key in (*keys[:2], third)] == [
        "solved",
        "solved",
        "ignored",
    ]
    assert "done=" not in browser.path


def test_keys_can_be_switched_off(seeded, browse):
    """Who dictates or hears pages may do without single keys."""
    browser = browse(seeded)
    browser.go("/")

    browser.press("?")
    browser.click("[data-keys-switch]")
    browser.press("\ue00c", "j")
    off = _row(browser)
    browser.go("/")
    browser.press("j")
    still_off = _row(browser)
    browser.press("?")
    browser.click("[data-keys-switch]")
    browser.press("\ue00c", "j")

    assert (off, still_off) == (None, None)
    assert _row(browser) is not None


def test_acting_on_a_ticket(seeded, browse):
    """Solve, solve in a release, reopen, ignore, assign, comment, split, merge, delete: all of it."""
    browser = browse(seeded)
    key = seeded.of["order_fails"]
    url = f"/tickets/{key}"

    def status():
        return seeded.get_ticket(key).status

    browser.go(url)
    with browser.leaving():
        browser.press("s")
    assert (browser.notice, status().state) == ("The ticket is solved", "solved")
    with browser.leaving():
        browser.click(f"form[action='{url}/reopen'] button")
    assert status().state == "assigned"
    browser.click(".actions details:nth-of-type(1) > summary")
    browser.fill("#release", "1.5.0")
    with browser.leaving():
        browser.click("#release + button")
    assert status().solved_in == "1.5.0"
    with browser.leaving():
        browser.click(f"form[action='{url}/reopen'] button")
    browser.press("i")
    with browser.leaving():
        browser.click("button[name=ignore][value='1d']")
    assert status().ignored_until is not None
    assert "Ignored for" in browser.text(".head .state")
    with browser.leaving():
        browser.click(f"form[action='{url}/reopen'] button")
    browser.press("a")
    browser.fill("#assignee", "zoe")
    with browser.leaving():
        browser.click("#assignee + button")
    assert status().assignee == "zoe"
    browser.press("a")
    with browser.leaving():
        browser.click("button[name=assign][value=me]")
    assert status().assignee == "ann"
    browser.press("c")
    browser.press("they said\nthat it is fixed")
    with browser.leaving():
        browser.click(".comment button")
    assert browser.text(".history .said bdi") == "they said\nthat it is fixed"

    browser.click("details.more > summary")
    with browser.leaving():
        browser.click("details.more a[href$='/merge']")
    other = seeded.of["coupon_is_unknown"]
    with browser.leaving():
        browser.click(f"input[name=into][value='{other}']")
        browser.click("form.card button")
    assert browser.path == f"/tickets/{other}"
    assert status().merged_into == other
    occurrence = next(
        each
        for each in seeded.get_occurrences(other)
        if "not paid" in (each.exception_message or "")
    )
    browser.go(f"/occurrences/{occurrence.occurrence_id}")
    with browser.leaving():
        browser.click("form[action$='/split'] button")
    assert browser.notice == "These occurrences are a ticket of their own"
    new = int(browser.path.rpartition("/")[2])
    assert new != other
    browser.click("details.more > summary")
    with browser.leaving():
        browser.click("details.more a[href$='/delete']")
    with browser.leaving():
        browser.click("button[name=sure]")
    assert browser.notice == "The ticket was deleted"
    assert seeded.get_ticket(new) is None


def test_acting_on_many(seeded, browse):
    """Nothing is in the way until something is selected; then all at once."""
    browser = browse(seeded)
    browser.go("/?q=channel:shop.prices")

    is_hidden = not browser.one("#bulk button[value=solve]").is_displayed()
    browser.click("[data-select-all]")
    selected = browser.text("[data-selected]")
    browser.click("#bulk details:nth-of-type(2) > summary")
    with browser.leaving():
        browser.click("#bulk button[name=assign][value=me]")
    assigned = browser.notice
    browser.click("[data-select-all]")
    with browser.leaving():
        browser.click("#bulk button[value=merge]")
    with browser.leaving():
        browser.click("form.card button")

    assert is_hidden
    assert (selected, assigned) == ("2 selected", "2 tickets are assigned")
    assert browser.notice == "The tickets are one"
    assert seeded.get_ticket(int(browser.path.rpartition("/")[2])).status.assignee == "ann"


def test_what_comes_meanwhile_waits_to_be_shown(seeded, browse):
    """The list says that there is more, and stays as it is until somebody wants to see it."""
    browser = browse(seeded)
    new = seeding.entries_of(seeding.everything_is_hostile, "brand new")[-1]
    browser.go("/")
    rows = len(browser.all("[data-row]"))

    seeded.record_entries([seeding.at(new, _now(), "new")])
    text = browser.wait("document.querySelector('[data-live-note] a')?.textContent")
    still = len(browser.all("[data-row]"))
    with browser.leaving():
        browser.click("[data-live-note] a")

    assert (text, still) == ("1 new · show", rows)
    assert len(browser.all("[data-row]")) == rows + 1
    assert browser.text("[data-row] .title") == "RuntimeError: brand new"

    key = seeded.of["cache_is_slow"]
    browser.go(f"/tickets/{key}")
    seeded.solve_ticket(key, actor="ben")
    assert (
        browser.wait("document.querySelector('[data-live-note] a')?.textContent")
        == "now Solved · show"
    )


def test_a_search_is_completed(seeded, browse):
    """Words and values are proposed, chosen with the arrows, and what has spaces gets its quotes."""
    browser = browse(seeded)
    seeded.assign_ticket(seeded.of["cache_is_slow"], "Jane Doe")
    browser.go("/?q=")

    browser.press("/")
    browser.press("lev\ue015\ue007")  # down, enter
    after_word = browser.one("#q").get_attribute("value")
    browser.press("err\ue015\ue007")
    after_value = browser.one("#q").get_attribute("value")
    browser.press("assigned:J")
    browser.wait("document.querySelector('#q-list [role=option]')?.textContent.includes('Jane')")
    option = browser.run("return document.querySelector('#q-list [role=option]').textContent")
    browser.press("\ue015")
    active = browser.run(
        "const q = document.getElementById('q'); return [q.getAttribute('aria-expanded'), q.getAttribute('aria-activedescendant')]"
    )
    browser.press("\ue007")
    query = browser.one("#q").get_attribute("value")
    with browser.leaving():
        browser.press("\ue007")

    assert (after_word, after_value) == ("level:", "level:error ")
    assert option == 'assigned:"Jane Doe"'
    assert active == ["true", "q-option-0"]
    assert query == 'level:error assigned:"Jane Doe" '
    assert "No ticket is like that" in browser.text("main")


def test_colours_are_switched(seeded, browse):
    """At once, without another page; and they stay, whatever the system says."""
    browser = browse(seeded)
    browser.look(WIDE, "light")
    browser.go("/")
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(ground)

    browser.run("window.isOld = true")
    browser.click("button[name=theme][value=dark]")
    dark = browser.wait(
        f"(() => {{ const found = (() => {{ {ground} }})(); return found !== arguments[0] && found }})()",
        light,
    )
    is_same_page = browser.run("return window.isOld")
    browser.wait(
        "document.querySelector('button[name=theme][value=dark]').getAttribute('aria-pressed') === 'true'"
    )
    for _ in range(600):
        if any(each["name"] == "tickets_theme" for each in browser.driver.get_cookies()):
            break
    browser.go("/help")
    kept = browser.run(ground)
    browser.look(WIDE, "light", "reduce")
    animation = browser.run(
        "const live = document.createElement('div'); live.className = 'live'; live.innerHTML = '<a>x</a>';"
        "document.querySelector('main').append(live); return getComputedStyle(live.firstChild).animationName"
    )

    assert is_same_page is True
    assert kept == dark
    assert animation == "none"


def test_everything_works_without_a_script(seeded, browse):
    """Search, menus, forms, bulk, colours: all of it is HTML."""
    browser = browse(seeded)
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver = browser.driver
    key = seeded.of["cache_is_slow"]

    def press(selector):
        driver.find_element("css selector", selector).click()

    def submit(selector):
        """Press what leads to another page, and wait for that; no script of ours can tell."""
        from selenium.webdriver.support.expected_conditions import staleness_of
        from selenium.webdriver.support.wait import WebDriverWait

        old = driver.find_element("css selector", "html")
        press(selector)
        WebDriverWait(driver, chromium.LIMIT, 0.05).until(staleness_of(old))

    browser.go("/")
    is_shown = driver.find_element("css selector", "#bulk button[value=solve]").is_displayed()
    press(f"input[name=ticket][value='{key}']")
    press("#bulk details:nth-of-type(1) > summary")
    submit("#bulk button[name=ignore][value='1w']")
    ignored = driver.find_element("css selector", "[data-notice]").text
    browser.go(f"/tickets/{key}")
    submit(f"form[action='/tickets/{key}/reopen'] button")
    opened = driver.find_element("css selector", "[data-notice]").text
    press("summary[data-key=a]")
    driver.find_element("css selector", "#assignee").send_keys("zoe")
    submit("#assignee + button")
    submit("button[name=theme][value=dark]")
    theme = driver.find_element("css selector", "html").get_attribute("data-theme")
    submit(".brand")
    driver.find_element("css selector", "#q").clear()
    driver.find_element("css selector", "#q").send_keys("assigned:zoe")
    submit(".find button")
    found = [each.text for each in driver.find_elements("css selector", "[data-row] .title")]

    assert is_shown
    assert (ignored, opened, theme) == ("The ticket is ignored", "The ticket is open again", "dark")
    assert found == ["the cache took 870 ms"]


def test_no_script_of_anybody_elses_is_run(empty, browse):
    """A payload in every field of every page, in the completion and in what comes live: run 0 times."""
    text = seeding.SCRIPT
    entry = seeding.entries_of(seeding.everything_is_hostile, text)[-1]
    entry = replace(
        entry,
        release=text,
        environment=text,
        app_id=text[:80],
        location=text,
        module=text,
        request_id=text,
        task_uuid=text,
    )
    outcomes = empty.record_entries(
        [entry, replace(entry, key="other", fingerprint="v1:other", hash="0" * 40)]
    )
    key = outcomes[0].ticket_id
    empty.assign_ticket(key, text, actor=text)
    empty.comment_on_ticket(key, text, actor=text)
    empty.solve_ticket(key, release=text, actor=text)
    empty.save_issue(TrackerIssue(key, text, text, "javascript:window.hacked=1"))
    browser = browse(empty, user=lambda request: text)
    browser.expected += ["status of 404", "status of 400"]
    occurrence = empty.get_ticket(key).last_occurrence.occurrence_id
    paths = [
        *(
            "/?q=",
            f"/tickets/{key}",
            f"/occurrences/{occurrence}",
            f"/requests/{quote(text, safe='')}",
        ),
        *(
            f"/tickets/{key}/merge",
            f"/tickets/{key}/delete",
            f"/?q={quote(text)}",
            f"/?q={quote('is:' + text)}",
        ),
        *(
            f"/tickets/{quote(text, safe='')}",
            f"/?done={quote(text)}&n={quote(text)}&sort={quote(text)}",
        ),
        *(f"/requests?id={quote(text)}", f"/?q=assigned:{quote(text)}", "/help"),
    ]

    for path in paths:
        browser.go(path)
        for menu in browser.all("details"):
            browser.run("arguments[0].open = true", menu)
        for link in browser.all("main a"):
            assert not (link.get_dom_attribute("href") or "").lower().startswith("javascript"), path
        assert browser.run("return window.hacked") is None, path
        assert browser.run("return document.scripts.length") == 1, path

    browser.go("/?q=")
    browser.press("/")
    browser.press("channel:<")
    browser.wait("document.querySelector('#q-list [role=option]')")
    browser.press("\ue015", "\ue007")
    empty.record_entries(
        [replace(entry, key="live", hash="1" * 40, fingerprint="v1:live", time=_now())]
    )
    browser.wait("document.querySelector('[data-live-note] a')")
    assert browser.run("return window.hacked") is None
