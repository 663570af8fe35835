"""The page where people log in: the same look, the same care."""

import pytest

from sprockets.tickets import Token
from tests.tickets.pages import chromium

TOKEN = "spt_of-ann"


@pytest.fixture(name="visitor")
def _visitor(seeded, visit):
    return visit(seeded, user=None, tokens=[Token.from_text(TOKEN, "ann")])


def test_logging_in_and_out(visitor):
    """Who is not let in is sent to the form, from there to the page, and out again."""
    page = visitor.get("/help")
    wrong = visitor.submit(page, "/login?next=%2Fhelp", token="spt_of-nobody")
    inside = visitor.submit(wrong, "/login?next=%2Fhelp", token=TOKEN)
    actor = inside.one("header", class_="top").says
    outside = visitor.submit(inside, "/logout")

    assert page.one("h1").says == "Log in"
    assert wrong.status == 403
    assert wrong.one("p", role="alert").says == "That token is not known here."
    assert (inside.url, inside.one("h1").says) == ("/help", "Search and keyboard")
    assert "ann" in actor
    assert "Log out" in actor
    assert outside.one("h1").says == "Log in"
    assert visitor.get("/").one("h1").says == "Log in"


def test_nothing_is_on_the_page_that_others_may_not_know(visitor):
    """No name, no count, no search: the form, the colours, and the files that go with pages."""
    page = visitor.get("/")

    assert [each["action"] for each in page.all("form") if "action" in each.attributes] == [
        "/theme",
        "/login?next=%2F",
    ]
    assert "shop" not in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_the_page_is_accessible(visitor, driver, check):
    """At both widths and in both schemes; and a browser logs in."""
    driver.get(f"{visitor.served.url}/")

    found = check()
    driver.find_element("css selector", "#token").send_keys(TOKEN, "\ue007")
    chromium.wait(driver, "document.querySelector('.tickets')")
    driver.delete_all_cookies()

    assert found == []
