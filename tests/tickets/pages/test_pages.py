"""The pages through HTTP: what is on them, what their forms do, and what they never do."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from sprockets.logbook.ticketing import Query
from sprockets.logbook.ticketing._model import TrackerIssue
from tests.tickets.pages import seeding
from tests.tickets.pages.serving import parse


def _now():
    return datetime.now(UTC).replace(tzinfo=None)


# -- the list


def test_the_list_shows_open_tickets_first(seeded, visit):
    """Without a search, the list has what is open, the latest first, with counts and pictures."""
    page = visit(seeded).get("/")

    rows = page.all("tr", data_row=True)
    assert len(rows) == seeded.count_tickets(Query(states=("new", "assigned", "regressed")))
    assert "Connection refused" in rows[0].says
    assert "Regressed" in rows[0].says
    assert len(rows[0].all("svg", class_="spark")) == 2
    assert page.one("a", aria_current="page", href="/?q=is%3Aopen").says == f"Open {len(rows)}"


def test_each_tab_finds_what_it_says(seeded, visit):
    """Every saved search leads to the tickets of that state, and is marked as the current one."""
    visitor = visit(seeded)
    tabs = visitor.get("/").one("nav", aria_label="Saved searches").all("a")

    found = {}
    for tab in tabs:
        page = visitor.get(tab["href"])
        current = page.one("nav", aria_label="Saved searches").all("a", aria_current="page")
        assert [each.says.split()[0] for each in current] == [tab.says.split()[0]]
        states = {
            each["class"].split("-")[-1]
            for row in page.all("tr", data_row=True)
            for each in row.all("span", class_="state")
        }
        found[tab.says.split()[0]] = states

    assert found["Regressed"] == {"regressed"}
    assert found["Ignored"] == {"ignored"}
    assert found["Solved"] == {"solved"}
    assert found["Mine"] == {"assigned"}
    assert found["All"] == {"new", "assigned", "regressed", "ignored", "solved"}


def test_a_search_finds_and_stays_in_its_field(seeded, visit):
    """What was searched for stands in the field, and in the links that sort."""
    page = visit(seeded).get("/?q=" + quote('channel:shop.prices "no rate"'))

    assert [row.all("a", class_="title")[0].says for row in page.all("tr", data_row=True)] == [
        "LookupError: no rate for XAU"
    ]
    assert page.one("input", id="q")["value"] == 'channel:shop.prices "no rate"'
    sorts = [each["href"] for header in page.all("th") for each in header.all("a")]
    assert all("channel%3Ashop.prices" in each for each in sorts)


def test_a_search_that_is_not_understood_says_why_and_where(seeded, visit):
    """The wrong part is marked, what is known is said, and nothing else is lost."""
    page = visit(seeded).get("/?q=" + quote("is:open lvl:error"))

    problem = page.one("p", id="q-error")
    assert problem.all("mark")[0].says == "lvl"
    assert "unknown field 'lvl'; did you mean 'level'?" in problem.says
    assert page.one("input", id="q")["value"] == "is:open lvl:error"
    assert page.one("input", id="q")["aria-invalid"] == "true"


@pytest.mark.parametrize("text", ["a\ud800", "x" * 2001, "is:", "((", '"'])
def test_no_search_is_too_odd(seeded, visit, text):
    """What no ticket can have is refused with a sentence, not passed on to a database."""
    page = visit(seeded).get("/?q=" + quote(text, errors="surrogatepass"))

    if "\ud800" in text:
        # That is not even a parameter.
        assert page.status == 400
    else:
        assert page.all("p", id="q-error")


def test_sorting_by_count(seeded, visit):
    """A column sorts by itself, the greatest first, then the other way round, and says so."""
    visitor = visit(seeded)
    page = visitor.get("/?q=")
    (link,) = [each for each in page.all("a") if each.says == "Count"]

    page = visitor.get(link["href"])
    counts = [
        int(row.all("td", class_="number")[0]["title"].split()[0].replace(",", ""))
        for row in page.all("tr", data_row=True)
    ]
    (header,) = [each for each in page.all("th") if each.says == "Count"]
    back = visitor.get(header.all("a")[0]["href"])

    assert counts == sorted(counts, reverse=True)
    assert header["aria-sort"] == "descending"
    assert next(each for each in back.all("th") if each.says == "Count")["aria-sort"] == "ascending"


@pytest.mark.parametrize(
    "path", ["/?sort=-nothing", "/?sort=", "/?page=0", "/?page=x", "/?page=99999999999", "/?page=7"]
)
def test_odd_sorts_and_pages_are_the_usual_ones(seeded, visit, path):
    """A URL that somebody mistyped shows a list all the same."""
    assert visit(seeded).get(path).status == 200


def test_the_list_is_paged(empty, visit):
    """Fifty on a page, links to the neighbours, and where one is."""
    (entry,) = seeding.entries_of(seeding.coupon_is_unknown)
    empty.record_entries(
        [
            replace(
                entry,
                key=f"k{number}",
                fingerprint=f"v1:{number:032x}",
                hash=f"{number:040x}",
                title=f"Number {number}",
                time=_now() - timedelta(seconds=number),
            )
            for number in range(120)
        ]
    )
    visitor = visit(empty)

    first = visitor.get("/")
    second = visitor.get(first.one("a", rel="next")["href"])
    third = visitor.get(second.one("a", rel="next")["href"])

    assert [
        page.one("nav", aria_label="Pages of tickets").all("span", class_="count")[0].says
        for page in (first, second, third)
    ] == [
        "1–50 of 120",
        "51–100 of 120",
        "101–120 of 120",
    ]
    assert third.all("a", rel="next") == []
    assert visitor.get(second.one("a", rel="prev")["href"]).text.count("data-row") == 50
    titles = [
        row.all("a", class_="title")[0].says
        for page in (first, second, third)
        for row in page.all("tr", data_row=True)
    ]
    assert titles == [f"Number {number}" for number in range(120)]


def test_an_empty_store_says_what_to_do(empty, visit):
    """Who has just begun is told how tickets come about."""
    page = visit(empty).get("/")

    assert "Nothing has failed yet" in page.says
    assert "TicketingHandler" in page.says


def test_an_id_that_was_searched_for_leads_to_its_request(seeded, visit):
    """Who pastes the id of a request into the search finds the way."""
    page = visit(seeded).get("/?q=0123456789abcdef")

    assert page.all("a", href="/requests/0123456789abcdef")


# -- a ticket


def test_a_ticket_links_its_issue(seeded, visit):
    """Beside it, and where its history says that it was filed; an address that is a script is none."""
    key = seeded.of["order_fails"]
    url = "https://example.org/17"
    seeded.save_issue(TrackerIssue(key, "github:o/r", "17", url))
    seeded.add_history(key, "filed", url, tracker="github:o/r", issue="17", url=url)
    seeded.add_history(key, "filed", "x", tracker="evil", issue="1", url="javascript:alert(1)")
    seeded.add_history(
        key, "refused", "github:o/r: 403 Must have admin rights", tracker="github:o/r"
    )
    page = visit(seeded).get(f"/tickets/{key}")

    links = page.all("a", href=url)

    # In the head, which is for narrow windows, among the trackers, and in the history.
    assert [each.says for each in links] == ["github:o/r #17"] * 3
    assert "A tracker was not told" in page.says
    assert "403 Must have admin rights" in page.says
    assert "evil #1" in page.says
    assert not [each for each in page.all("a") if each["href"].startswith("javascript")]


def test_what_is_proposed_is_asked_for_once_in_a_while(seeded, visit, monkeypatch):
    """However many look: names and releases change seldom, and whoever wants another one types it."""
    from sprockets.tickets._known import Values

    monkeypatch.setattr(Values, "max_age", 1e9)
    asked = []
    real = seeded.get_values
    seeded.get_values = lambda field: asked.append(field) or real(field)
    visitor = visit(seeded)
    key = seeded.of["order_fails"]

    for _ in range(3):
        visitor.get("/")
        page = visitor.get(f"/tickets/{key}")
        seeded.comment_on_ticket(key, "again")

    assert sorted(asked) == ["assignee", "release"]
    monkeypatch.setattr(Values, "max_age", 0.0)
    visitor.get("/")
    assert len(asked) == 3
    assert "1.4.2" in [each["value"] for each in page.all("option")]


def test_a_ticket_shows_everything_that_is_known(seeded, visit):
    """Traceback, records before, actions, history, counts, occurrences: all on its page."""
    key = seeded.of["order_fails"]
    seeded.save_issue(TrackerIssue(key, "github", "17", "https://example.org/17"))
    page = visit(seeded).get(f"/tickets/{key}")

    for text in (
        *("RuntimeError: order 1201 is not paid", "Assigned", "shop.orders", "Latest occurrence"),
        *("PaymentTimeout: the bank did not answer within 2.5 s", "taking order 1201"),
        *("5 left of A-1", "bank:charge", "order:reserve", "http:request", "POST /orders"),
        *("Jörg Müller", "1.4.2", "production", "The bank says they had an outage", "by ann"),
        *("First seen", "github #17", "24 hours", "30 days"),
    ):
        assert text in page.says, text
    assert len(page.all("svg", class_="histogram")) == 2
    latest = seeded.get_ticket(key).last_occurrence
    assert page.all("a", href=f"/requests/{latest.details.request_id}")
    assert (
        page.one("head").all("title")[0].says
        == f"#{key} RuntimeError: order 1201 is not paid · Tickets"
    )


def test_frames_of_libraries_are_folded(seeded, visit):
    """One's own frames are open, the standard library's are behind a line that says how many."""
    page = visit(seeded).get(f"/tickets/{seeded.of['body_is_no_json']}")

    folds = page.one("section", class_="trace").all("li", class_="library")
    assert len(folds) == 1
    assert folds[0].all("summary")[0].says.endswith("frames in Python")
    assert "open" not in folds[0].all("details")[0].attributes
    assert "seeding.py" in page.one("li", class_="own").says


def test_occurrences_are_paged(seeded, visit):
    """Twenty on a page, each with its own page and that of its request."""
    visitor = visit(seeded)
    url = f"/tickets/{seeded.of['order_fails']}"
    page = visitor.get(url)

    second = visitor.get(page.one("a", rel="next")["href"])

    rows = second.one("table", class_="occurrences").all("tr", data_row=True)
    assert len(rows) == 20
    occurrence = visitor.get(rows[0].all("a", class_="title")[0]["href"])
    assert "cannot take order 1201" in occurrence.says
    request = visitor.get(rows[0].all("td", class_="request")[0].all("a")[0]["href"])
    assert "What went wrong 1 occurrence" in request.says


@pytest.mark.parametrize(
    "path",
    [
        "/tickets/999999",
        "/tickets/%00",
        "/tickets/%F0%9F%90%9B",
        "/occurrences/999999",
        "/occurrences/-1",
        "/tickets/1/frobnicate",
        "/static/0123456789abcdef/tickets.css",
    ],
)
def test_what_is_not_there_is_a_page_too(seeded, visit, path):
    """404 in the same look, with the id of the request; for programs an error document."""
    visitor = visit(seeded)

    page = visitor.get(path)
    document = visitor.get(path, Accept="application/json")

    assert (page.status, document.status) == (404, 404)
    if "static" not in path:
        assert page.headers["X-Request-Id"] in page.says
        assert page.one("h1").says == "Not Found"
    assert json.loads(document.text)["request_id"] == document.headers["X-Request-Id"]


def test_a_merged_ticket_leads_to_the_one_that_counts(seeded, visit):
    """An old link still leads to where its occurrences are, and says why."""
    into, other = seeded.of["currency_is_unknown"], seeded.of["price_is_wrong"]
    seeded.merge_tickets(into, [other])

    page = visit(seeded).get(f"/tickets/{other}")

    assert page.url.startswith(f"/tickets/{into}")
    assert page.notice == "That ticket was merged into this one"


# -- actions


def test_solving_and_reopening(seeded, visit):
    """The forms change the ticket, history says who did it, and the page says that it was done."""
    visitor = visit(seeded)
    url = f"/tickets/{seeded.of['order_fails']}"

    solved = visitor.submit(visitor.get(url), f"{url}/solve")
    state = seeded.get_ticket(seeded.of["order_fails"]).status.state
    opened = visitor.submit(solved, f"{url}/reopen")

    assert (solved.notice, state) == ("The ticket is solved", "solved")
    assert "Solved by ann" in solved.says
    assert opened.notice == "The ticket is open again"
    assert seeded.get_ticket(seeded.of["order_fails"]).status.state == "assigned"


def test_solving_in_a_release(seeded, visit):
    """A release may be named; the state says it."""
    visitor = visit(seeded)
    url = f"/tickets/{seeded.of['order_fails']}"

    page = visitor.submit(visitor.get(url), f"{url}/solve", release="1.5.0")

    assert seeded.get_ticket(seeded.of["order_fails"]).status.solved_in == "1.5.0"
    assert "Solved in 1.5.0" in page.says


@pytest.mark.parametrize(
    ("fields", "hours", "more", "says"),
    [
        ({"ignore": "1h"}, 1, None, "Ignored for 1 h"),
        ({"ignore": "1d"}, 24, None, "Ignored for 24 h"),
        ({"ignore": "1w"}, 168, None, "Ignored for 168 h"),
        ({"ignore": "100"}, None, 100, "Ignored until 100 more"),
        ({"ignore": "forever"}, None, None, "Ignored"),
        ({"occurrences": "7"}, None, 7, "Ignored until 7 more"),
    ],
)
def test_ignoring(seeded, visit, fields, hours, more, says):
    """For a time, for some occurrences, or for good."""
    visitor = visit(seeded)
    url = f"/tickets/{seeded.of['order_fails']}"
    before = _now()

    page = visitor.submit(visitor.get(url), f"{url}/ignore", **fields)

    ticket = seeded.get_ticket(seeded.of["order_fails"])
    assert ticket.status.state == "ignored"
    if hours is None:
        assert ticket.status.ignored_until is None
    else:
        left = ticket.status.ignored_until - before - timedelta(hours=hours)
        assert timedelta(seconds=-1) < left < timedelta(minutes=2)
    assert ticket.status.ignored_count == (None if more is None else ticket.occurrence_count + more)
    assert says.rstrip("0123456789 h") in page.one("header", class_="head").says


def test_assigning(seeded, visit):
    """To me, to somebody, to nobody."""
    visitor = visit(seeded, user=lambda request: "zoe")
    key = seeded.of["cache_is_slow"]
    url = f"/tickets/{key}"

    page = visitor.submit(visitor.get(url), f"{url}/assign", assign="me")
    mine = seeded.get_ticket(key).status.assignee
    page = visitor.submit(page, f"{url}/assign", assignee="Ben Müller")
    named = seeded.get_ticket(key).status.assignee
    page = visitor.submit(page, f"{url}/assign", assign="nobody")

    assert (mine, named) == ("zoe", "Ben Müller")
    assert seeded.get_ticket(key).status.assignee == ""
    assert page.notice == "The ticket is nobody's"


def test_commenting(seeded, visit):
    """A comment keeps its lines and says whose it is."""
    visitor = visit(seeded)
    key = seeded.of["cache_is_slow"]
    url = f"/tickets/{key}"

    page = visitor.submit(visitor.get(url), f"{url}/comment", comment="one\r\ntwo <b>")

    (item,) = seeded.get_history(key, 1)
    assert (item.action, item.text, item.actor) == ("commented", "one\ntwo <b>", "ann")
    assert page.one("li", class_="comment").all("bdi")[0].text == "one\ntwo <b>"


def test_merging_one_ticket_into_another(seeded, visit):
    """The page names what may be the same, takes a number as well, and goes to what stays."""
    visitor = visit(seeded)
    key, into = seeded.of["price_is_wrong"], seeded.of["currency_is_unknown"]
    count = seeded.get_ticket(key).occurrence_count + seeded.get_ticket(into).occurrence_count

    asked = visitor.get(f"/tickets/{key}/merge")
    page = visitor.submit(asked, "/merge", into=str(into))

    assert [each["value"] for each in asked.all("input", name="into")][:2] == [str(key), str(into)]
    assert page.url == f"/tickets/{into}?done=merge"
    assert seeded.get_ticket(into).occurrence_count == count
    assert seeded.get_ticket(key).status.merged_into == into


@pytest.mark.parametrize(
    ("into", "status"), [("999999", 404), ("nonsense!", 422), ("", 422), ("itself", 422)]
)
def test_merging_into_nothing(seeded, visit, into, status):
    """A number that is none, or the ticket's own, is refused with a sentence."""
    visitor = visit(seeded)
    key = seeded.of["price_is_wrong"]

    page = visitor.submit(
        visitor.get(f"/tickets/{key}/merge"),
        "/merge",
        into="",
        other=str(key) if into == "itself" else into,
    )

    assert page.status == status
    assert page.headers["X-Request-Id"] in page.says


def test_splitting(seeded, visit):
    """What was merged can be taken apart again, from the page of an occurrence."""
    visitor = visit(seeded)
    into, other = seeded.of["currency_is_unknown"], seeded.of["price_is_wrong"]
    count = seeded.get_ticket(other).occurrence_count
    seeded.merge_tickets(into, [other])
    (occurrence,) = [
        each
        for each in seeded.get_occurrences(into)
        if "ZeroDivision" in (each.exception_name or "")
    ][:1]

    page = visitor.submit(
        visitor.get(f"/occurrences/{occurrence.occurrence_id}"),
        f"/tickets/{into}/split",
        occurrence=str(occurrence.occurrence_id),
    )

    assert page.notice == "These occurrences are a ticket of their own"
    new = page.url.split("/")[2].partition("?")[0]
    assert seeded.get_ticket(int(new)).occurrence_count == count


def test_splitting_what_is_all_alike(seeded, visit):
    """Where nothing would stay behind, the page says so."""
    visitor = visit(seeded)
    key = seeded.of["price_is_wrong"]
    occurrence = seeded.get_ticket(key).last_occurrence.occurrence_id

    page = visitor.submit(
        visitor.get(f"/occurrences/{occurrence}"),
        f"/tickets/{key}/split",
        occurrence=str(occurrence),
    )

    assert page.status == 409
    assert "none would stay behind" in page.says


def test_deleting_asks_before(seeded, visit):
    """A page says what is lost; only its button deletes."""
    visitor = visit(seeded)
    key = seeded.of["price_is_wrong"]

    asked = visitor.get(f"/tickets/{key}/delete")
    still_there = seeded.get_ticket(key)
    page = visitor.submit(asked, "/delete", sure="yes")

    assert "nothing brings them back" in asked.says
    assert still_there is not None
    assert seeded.get_ticket(key) is None
    assert page.notice == "The ticket was deleted"


def test_acting_on_many(seeded, visit):
    """What is selected in the list is changed at once, and the list says how many."""
    visitor = visit(seeded)
    keys = [str(seeded.of[name]) for name in ("cache_is_slow", "stock_is_low", "price_is_wrong")]

    solved = visitor.submit(visitor.get("/"), "/bulk", action="solve", ticket=keys)
    states = {seeded.get_ticket(int(key)).status.state for key in keys}
    ignored = visitor.submit(visitor.get("/?q="), "/bulk", ignore="1w", ticket=keys[:2])
    assigned = visitor.submit(
        visitor.get("/?q="), "/bulk", assign="named", assignee="ben", ticket=keys[1:]
    )
    opened = visitor.submit(visitor.get("/?q="), "/bulk", action="reopen", ticket=keys)

    assert states == {"solved"}
    assert solved.notice == "3 tickets are solved"
    assert ignored.notice == "2 tickets are ignored"
    assert assigned.notice == "2 tickets are assigned"
    assert opened.notice == "3 tickets are open again"
    assert [seeded.get_ticket(int(key)).status.state for key in keys] == [
        "new",
        "assigned",
        "assigned",
    ]
    assert opened.one("input", id="q")["value"] == ""


def test_acting_on_nothing(seeded, visit):
    """Without a selection nothing is changed, and the list says so."""
    visitor = visit(seeded)
    mark = seeded.get_mark()

    page = visitor.submit(visitor.get("/"), "/bulk", action="solve")

    assert page.notice == "No ticket was selected"
    assert seeded.get_mark() == mark


def test_merging_and_deleting_many(seeded, visit):
    """Both ask before; the ticket that was there most often is proposed to stay."""
    visitor = visit(seeded)
    keys = [str(seeded.of[name]) for name in ("price_is_wrong", "stock_is_low")]

    asked = visitor.submit(visitor.get("/"), "/bulk", action="merge", ticket=keys)
    merged = visitor.submit(asked, "/merge", into=keys[1])
    asked_again = visitor.submit(
        visitor.get("/"),
        "/bulk",
        action="delete",
        ticket=[keys[1], str(seeded.of["cache_is_slow"])],
    )
    deleted = visitor.submit(asked_again, "/delete", sure="yes")

    (checked,) = [each for each in asked.all("input", name="into") if "checked" in each.attributes]
    assert checked["value"] == keys[1]
    assert merged.url == f"/tickets/{keys[1]}?done=merge"
    assert deleted.notice == "2 tickets were deleted"
    assert seeded.get_ticket(int(keys[1])) is None


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("solve", {"release": "x" * 201}),
        ("solve", {"release": "a\nb"}),
        ("ignore", {"ignore": "sometimes"}),
        ("ignore", {"occurrences": "-3"}),
        ("assign", {"assign": "named", "assignee": ""}),
        ("assign", {"assignee": "\0"}),
        ("comment", {"comment": "  "}),
        ("comment", {"comment": "x" * 10_001}),
        ("split", {"occurrence": "no/id"}),
    ],
)
def test_fields_that_make_no_sense(seeded, visit, path, fields):
    """A form that no page of ours has sent is refused with a sentence, and changes nothing."""
    visitor = visit(seeded)
    url = f"/tickets/{seeded.of['order_fails']}"
    token = visitor.get(url).all("input", name="_xsrf")[0]["value"]
    mark = seeded.get_mark()

    page = visitor.send("POST", f"{url}/{path}", {"_xsrf": token, **fields})

    assert page.status == 422
    assert next(iter(fields)) in page.says or "occurrence" in page.says or "assignee" in page.says
    assert seeded.get_mark() == mark


def test_acting_on_a_ticket_that_has_gone(seeded, visit):
    """Somebody else deleted it meanwhile: 404 for one, and for many what is left is done."""
    visitor = visit(seeded)
    key = seeded.of["order_fails"]
    page = visitor.get(f"/tickets/{key}")
    rows = visitor.get("/")
    seeded.delete_ticket(key)

    one = visitor.submit(page, f"/tickets/{key}/solve")
    many = visitor.submit(
        rows, "/bulk", action="solve", ticket=[str(key), str(seeded.of["price_is_wrong"])]
    )

    assert one.status == 404
    assert many.notice == "The ticket is solved"


# -- who may what


def _paths(store):
    key = store.of["order_fails"]
    occurrence = store.get_ticket(key).last_occurrence
    return [
        *("/", "/help", "/requests", f"/requests/{occurrence.details.request_id}", "/updates"),
        *("/completions?field=channel", f"/tickets/{key}", f"/tickets/{key}/merge"),
        *(f"/tickets/{key}/delete", f"/occurrences/{occurrence.occurrence_id}"),
        *(f"/merge?ticket={key}", f"/delete?ticket={key}"),
    ]


def test_nobody_is_shown_anything_without_being_let_in(seeded, visit):
    """No page but that where people log in, and no file but those with nothing in them."""
    visitor = visit(seeded, user=lambda request: None)

    for path in _paths(seeded):
        page = visitor.send("GET", path)
        assert page.status == 401 or page.headers["Location"].startswith("/login"), path
        assert "shop" not in page.text
    for path in (
        "/bulk",
        "/merge",
        "/delete",
        "/tickets/1/solve",
        "/tickets/1/comment",
        "/tickets/1/split",
    ):
        assert visitor.send("POST", path, {"ticket": "1"}).status in (401, 403), path


def test_who_may_only_read_sees_no_button_and_changes_nothing(seeded, visit):
    """Pages without actions; and forms that were made up are refused."""
    from sprockets.tickets._auth import CallableUser

    visitor = visit(seeded, user=CallableUser(lambda request: "eve", writers=["ann"]))
    key = seeded.of["order_fails"]
    mark = seeded.get_mark()

    pages = [visitor.get(path) for path in ("/", f"/tickets/{key}", "/help")]
    token = pages[0].all("input", name="_xsrf")[0]["value"]
    refused = [
        visitor.send(
            "POST",
            path,
            {"_xsrf": token, "ticket": str(key), "action": "solve", "sure": "yes", "comment": "x"},
        ).status
        for path in ("/bulk", "/delete", f"/tickets/{key}/solve", f"/tickets/{key}/comment")
    ]
    asked = [
        visitor.get(path).status for path in (f"/tickets/{key}/delete", f"/tickets/{key}/merge")
    ]

    for page in pages:
        assert {
            form["action"] for form in page.all("form") if form.attributes.get("method") == "post"
        } == {"/theme"}
        assert "read only" in page.one("header", class_="top").says
    assert refused == [403] * 4
    assert asked == [403] * 2
    assert seeded.get_mark() == mark


def test_a_form_without_its_secret_is_refused_on_a_page(seeded, visit):
    """What another site has a browser post changes nothing; the answer is a page that says so."""
    visitor = visit(seeded)
    key = seeded.of["order_fails"]

    page = visitor.send("POST", f"/tickets/{key}/solve", {"release": ""})

    assert page.status == 403
    assert page.one("h1").says == "Forbidden"
    assert seeded.get_ticket(key).status.state == "assigned"


# -- colours


def test_browsers_say_where_a_form_was(seeded, visit):
    """Pages let browsers name their origin to us; without HTTPS it is all that they say of a form."""
    visitor = visit(seeded, user=lambda request: None)

    page = visitor.send("POST", "/theme", {"theme": "dark"}, Origin=visitor.served.url)
    of_others = visitor.send("POST", "/theme", {"theme": "light"}, Origin="https://example.org")

    assert (page.status, of_others.status) == (303, 403)
    assert of_others.headers["Referrer-Policy"] == "same-origin"


def test_colours_are_kept_in_a_cookie(seeded, visit):
    """The switch works without a script, leads back, and takes nothing but its own words."""
    visitor = visit(seeded)

    page = visitor.submit(visitor.get("/help"), "/theme", theme="dark")
    dark = page.one("html").attributes.get("data-theme")
    page = visitor.submit(page, "/theme", theme='"><script>')

    assert (page.url, dark) == ("/help", "dark")
    assert "data-theme" not in page.one("html").attributes


# -- what scripts ask


def test_updates_say_what_is_new(seeded, visit):
    """New tickets, and those that came again, among what the list is about."""
    visitor = visit(seeded)
    since = (_now() + timedelta(seconds=60)).isoformat() + "Z"
    later = _now() + timedelta(seconds=120)
    new = seeding.entries_of(seeding.everything_is_hostile)[-1]
    (again,) = seeding.entries_of(seeding.cache_is_slow)

    before = visitor.get(f"/updates?since={since}").text
    seeded.record_entries([seeding.at(new, later, "new"), seeding.at(again, later, "again")])
    after = visitor.get(f"/updates?since={since}").text
    of_others = visitor.get(f"/updates?since={since}&q=channel:mail").text

    assert json.loads(before) == {"text": "Something changed · show"}
    assert json.loads(after) == {"text": "1 new · 1 again · show"}
    assert json.loads(of_others) == {"text": "Something changed · show"}


def test_updates_of_a_ticket(seeded, visit):
    """How often it happened since, what it is by now, and that it is there no longer."""
    visitor = visit(seeded)
    key = seeded.of["order_fails"]
    url = f"/updates?ticket={key}&count={seeded.get_ticket(key).occurrence_count - 2}&state=new"

    first = visitor.get(url)
    seeded.delete_ticket(key)
    second = visitor.get(url)

    assert json.loads(first.text) == {"text": "2 more · now Assigned · show"}
    assert json.loads(second.text) == {"text": "This ticket was deleted · show"}


@pytest.mark.parametrize(
    "query", ["", "since=x", "since=2026-01-01&q=foo:bar", "ticket=1&count=x", "ticket=a/b"]
)
def test_updates_refuse_nonsense(seeded, visit, query):
    """What no page of ours asks is refused."""
    assert visit(seeded).get(f"/updates?{query}").status == 400


def test_completions(seeded, visit):
    """The values there are; for people also the two that stand for somebody."""
    visitor = visit(seeded)

    assert "shop.orders" in json.loads(visitor.get("/completions?field=channel").text)["values"]
    assert json.loads(visitor.get("/completions?field=assignee").text)["values"] == [
        "me",
        "none",
        "ann",
        "ben",
    ]
    assert visitor.get("/completions?field=data").status == 404


# -- requests


def test_the_id_of_a_request_leads_to_everything(seeded, visit):
    """From the error document in one step: occurrence, records before it, actions, ticket, trace."""
    occurrence = seeded.get_ticket(seeded.of["order_fails"]).last_occurrence
    request_id = occurrence.details.request_id

    page = visit(seeded).get(f"/requests/{request_id}")

    for text in (
        request_id,
        "cannot take order 1201",
        "taking order 1201",
        "5 left of A-1",
        "bank:charge",
        "Traceback",
        "/orders",
        "Method POST",
    ):
        assert text in page.says, text
    assert page.all("a", href=f"/tickets/{occurrence.ticket_id}")
    assert page.all("a", href=f"/occurrences/{occurrence.occurrence_id}")


def test_records_that_led_up_to_two_failures_are_there_once(empty, visit):
    """Two occurrences of one request share what came before."""
    empty.record_entries(
        [
            *seeding.entries_of(seeding.order_fails, "r1"),
            *seeding.entries_of(seeding.body_is_no_json, "r1"),
        ]
    )

    page = visit(empty).get("/requests/r1")

    assert "2 occurrences" in page.says
    (table,) = page.all("table", class_="records")
    messages = [row.all("td")[3].says for row in table.all("tr")[1:]]
    assert len([each for each in messages if each.startswith("taking order")]) == 1


def test_a_request_in_several_services_is_one_task(empty, visit):
    """What another service logged in the same task is shown as well, and marked."""
    (entry,) = seeding.entries_of(seeding.order_fails, "r1")
    (other,) = seeding.entries_of(seeding.body_is_no_json, "r2")
    empty.record_entries([entry, replace(other, task_uuid=entry.task_uuid)])

    page = visit(empty).get("/requests/r1")

    assert "another request of the same task" in page.says
    assert "the basket is no JSON" in page.says


@pytest.mark.parametrize(
    "request_id", ["unknown", "a/b+c=d@e~f:g", "x y", "\0", "ü", "x" * 300, "%2F", ".."]
)
def test_a_request_of_which_nothing_is_kept_says_what_to_do(seeded, visit, request_id):
    """Whatever the id: a page that helps on."""
    page = visit(seeded).get(f"/requests/{quote(request_id, safe='')}")

    assert page.status == 200
    assert "Nothing of this request is kept" in page.says
    assert "sprockets tree --request" in page.says


def test_the_form_leads_to_the_request(seeded, visit):
    """Where the id is pasted."""
    visitor = visit(seeded)

    page = visitor.get("/requests?id=" + quote("a/b", safe=""))

    assert page.url == "/requests/a%2Fb"
    assert page.one("h1").says == "Request a/b"


# -- files


def test_files_are_kept_for_good_and_named_by_their_content(seeded, visit):
    """A year, by anybody; and another content has another name."""
    visitor = visit(seeded, user=lambda request: None)
    page = visit(seeded).get("/")
    names = [
        page.one("link", rel="stylesheet")["href"],
        page.one("link", rel="icon")["href"],
        page.one("script")["src"],
    ]

    files = [visitor.send("GET", name) for name in names]

    for file, kind in zip(files, ("text/css", "image/svg+xml", "text/javascript"), strict=True):
        assert file.status == 200
        assert file.headers["Content-Type"].startswith(kind)
        assert "immutable" in file.headers["Cache-Control"]
        assert file.headers["X-Content-Type-Options"] == "nosniff"


def test_pages_load_nothing_from_elsewhere(seeded, visit):
    """No address of another host, no script and no style within a page."""
    visitor = visit(seeded)

    for path in _paths(seeded):
        page = visitor.get(path)
        if not hasattr(page, "root"):
            continue
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for each in page.root.walk():
            assert "style" not in each.attributes
            assert each.name not in ("style", "iframe", "object", "embed", "base")
            for name in ("src", "href", "action"):
                assert not each.attributes.get(name, "").startswith(("http", "//")), each.attributes
        assert [each["src"].startswith("/static/") for each in page.all("script")] == [True]


def test_pages_under_a_path(seeded, visit):
    """Mounted somewhere, every link, form and file is below that."""
    visitor = visit(seeded, base_path="/ops/tickets")

    for path in _paths(seeded):
        page = visitor.get(path)
        assert page.status == 200 or path == "/updates", path
        if not hasattr(page, "root"):
            continue
        for each in page.root.walk():
            for name in ("src", "href", "action"):
                url = each.attributes.get(name, "/ops/tickets/")
                assert url.startswith(("/ops/tickets/", "#")), (path, each.name, url)
        assert page.one("html")["data-base"] == "/ops/tickets"
    assert visitor.get("").status == 200


# -- attacks


@pytest.mark.parametrize("payload", seeding.PAYLOADS)
def test_what_attackers_log_stays_text(empty, visit, payload):
    """A script in every field is on every page as text: no element, no attribute, no link of it."""
    entry = seeding.entries_of(seeding.everything_is_hostile, payload)[-1]
    entry = replace(
        entry,
        release=payload[:60],
        environment=payload[:60],
        app_id=payload[:60],
        location=payload,
        module=payload,
        request_id=payload,
        task_uuid=payload,
    )
    other = replace(entry, key="other", fingerprint="v1:other", hash="0" * 40)
    outcomes = empty.record_entries([entry, other])
    key = outcomes[0].ticket_id
    empty.assign_ticket(key, payload[:80], actor=payload[:80])
    empty.comment_on_ticket(key, payload, actor=payload[:80])
    empty.save_issue(TrackerIssue(key, payload[:40], payload[:40], "javascript:window.hacked=1"))
    visitor = visit(empty, user=lambda request: payload[:80])
    occurrence = empty.get_ticket(key).last_occurrence.occurrence_id
    paths = [
        *("/?q=", f"/tickets/{key}", f"/tickets/{key}/merge", f"/tickets/{key}/delete"),
        *(f"/occurrences/{occurrence}", f"/requests/{quote(payload, safe='')}"),
        *(
            f"/?q={quote(payload)}",
            f"/tickets/{quote(payload, safe='')}",
            f"/?sort={quote(payload)}&done={quote(payload)}&n={quote(payload)}",
        ),
    ]

    for path in paths:
        page = visitor.get(path)
        for each in page.root.walk():
            assert not any(name.startswith("on") for name in each.attributes), (
                path,
                each.attributes,
            )
            assert each.name not in ("img", "iframe", "object"), path
            for name in ("href", "src", "action"):
                assert not each.attributes.get(name, "").lower().startswith("javascript"), path
        assert len(page.all("script")) == 1, path
        assert page.all("svg", onload=True) == []
    assert payload.split("<")[0] in visitor.get(f"/tickets/{key}").says


def test_halves_of_characters_are_shown_as_such(empty, visit):
    """What UTF-8 cannot carry is there as an escape, and the page is whole."""
    entry = seeding.entries_of(seeding.everything_is_hostile, "file \udcff name\0")[-1]
    (outcome,) = empty.record_entries([entry])

    page = visit(empty).get(f"/tickets/{outcome.ticket_id}")

    assert page.status == 200
    assert "\\udcff" in page.says


def test_a_ticket_that_logbook_wrote(empty, visit):
    """Without title, fingerprint, details: a page all the same."""
    entry = seeding.entries_of(seeding.cache_is_slow)[0]
    (outcome,) = empty.record_entries(
        [
            replace(
                entry,
                title="",
                fingerprint=None,
                request_id=None,
                task_uuid=None,
                release=None,
                environment=None,
                leading=None,
                data="{}",
                channel="",
                module="",
                location="",
            )
        ]
    )
    visitor = visit(empty)

    assert "(no title)" in visitor.get("/").says
    page = visitor.get(f"/tickets/{outcome.ticket_id}")
    assert page.status == 200
    assert "left to the hash" in page.says


def test_a_page_is_parsed_as_it_was_written():
    """The parser of these tests finds a tag that is not closed; so pages have none."""
    with pytest.raises(AssertionError):
        parse("<p><b>text</p>")
