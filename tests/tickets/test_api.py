"""The interface for programs: what it answers, what it changes, and what it does not take."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.http.mixins import Problem
from sprockets.logbook.ticketing._model import TrackerIssue
from sprockets.tickets import _api_input as api_input
from sprockets.tickets._api import PATHS, PREFIX
from sprockets.tickets._api_description import OPERATIONS, SCHEMAS, describe
from sprockets.tickets._api_forms import ticket_facts, to_json
from sprockets.tickets._api_input import Change, InputError, parse_change, parse_id, parse_object
from sprockets.tickets.app import make_app
from tests.logbook.ticketing.contract import after, make_entry
from tests.logbook.ticketing.model import DictStore
from tests.tickets.driver import TOKENS, ids
from tests.tickets.driver import make_store as fill

LIST = "/api/v1/tickets"
PROBLEM = {"Accept": "application/problem+json"}


@pytest.fixture(name="filled", scope="module")
def _filled(tmp_path_factory):
    """A database that is filled, to be copied: making one takes as long as many requests."""
    pytest.importorskip("sqlalchemy")
    from sprockets.logbook.ticketing import SQLAlchemyBackend

    path = tmp_path_factory.mktemp("filled") / "tickets.db"
    store = SQLAlchemyBackend(uri=f"sqlite:///{path}")
    fill(store)
    store.close()
    return path


@pytest.fixture(name="store", params=["dicts", "sqlite"])
def _store(request, tmp_path):
    """Stores of both kinds: a whole one, and the simple one it is compared with."""
    if request.param == "dicts":
        store = fill(DictStore())
    else:
        from sprockets.logbook.ticketing import SQLAlchemyBackend

        path = shutil.copy(request.getfixturevalue("filled"), tmp_path)
        store = SQLAlchemyBackend(uri=f"sqlite:///{path}")
    yield store
    store.close()


@pytest.fixture(name="api")
def _api(serve, store):
    return serve(make_app(store=store, tokens=TOKENS)).with_token()


@pytest.fixture(name="names")
def _names(store):
    """The ids of the tickets, by the name of the place that logged them."""
    return {
        ticket.module.removeprefix("service."): ticket.ticket_id for ticket in store.get_tickets()
    }


def whole(store):
    """Return all that can be changed in a store."""
    return [
        (ticket_facts(ticket), [item.action for item in store.get_history(ticket.ticket_id)])
        for ticket in store.get_tickets("ticket_id")
    ]


def check(value, schema, where="answer"):
    """Fail unless *value* is as *schema* says; as much of JSON Schema as we use."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    python = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    assert any(type(value) is python[kind] for kind in kinds), f"{where}: {value!r} is no {kinds}"
    if "enum" in schema:
        assert value in schema["enum"], where
    if schema.get("format") == "date-time" and value is not None:
        assert datetime.fromisoformat(value).tzinfo is UTC, where
    if isinstance(value, list):
        for number, each in enumerate(value):
            check(each, schema["items"], f"{where}[{number}]")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            assert name in value, f"{where}: {name} is missing"
        for name, each in value.items():
            if name in known:
                check(each, known[name], f"{where}.{name}")
            else:
                more = schema.get("additionalProperties", False)
                assert more, f"{where}: {name} is not described"
                if more is not True:
                    check(each, more, f"{where}.{name}")


def described(answer, method, path):
    """Fail unless *answer* is what the description says of the operation; return the document."""
    responses = OPERATIONS[path][method]["responses"]
    assert str(answer.code) in responses, (answer.code, answer.body)
    content = responses[str(answer.code)].get("content")
    if content is None:
        assert not answer.body
        return None
    kind = answer.headers["Content-Type"].partition(";")[0]
    document = json.loads(answer.body)
    check(document, content[kind]["schema"])
    return document


# -- reading


def test_the_list_is_a_page_with_a_total(api, names):
    """The newest first, and as it is described."""
    found = described(api.fetch(LIST), "get", "/tickets")

    assert found["total"] == 3
    assert [ticket["id"] for ticket in found["tickets"]] == [
        names["third"],
        names["second"],
        names["first"],
    ]
    newest = found["tickets"][0]
    assert newest["title"] == "title of third"
    assert newest["state"] == "new"
    assert newest["level_name"] == "ERROR"
    assert newest["occurrence_count"] == 2
    assert newest["last_occurrence_time"] == "2026-03-01T15:00:00.000000Z"
    assert newest["first_time"] == "2026-03-01T14:00:00.000000Z"


def test_the_list_is_searched(api, names):
    """In the words of the query language; who asks is ``me``."""
    assert [each["id"] for each in api.json(f"{LIST}?q=level:error")["tickets"]] == [names["third"]]
    assert api.json(f"{LIST}?q=title+second")["total"] == 1
    assert api.json(f"{LIST}?q=release:1.0+-level:error")["total"] == 1
    api.json(f"{LIST}/{names['first']}", "PATCH", data={"assignee": "robot"})
    assert [each["id"] for each in api.json(f"{LIST}?q=assigned:me")["tickets"]] == [names["first"]]


def test_a_search_that_makes_no_sense_is_explained(api):
    """With the place where it stops to make any."""
    answer = api.fetch(f"{LIST}?q=title+levle:error", headers=PROBLEM)

    problem = described(answer, "get", "/tickets")
    assert answer.code == 400
    assert problem["errors"][0]["parameter"] == "q"
    assert problem["errors"][0]["position"] == 6
    assert "levle" in problem["detail"]


def test_the_list_is_ordered(api, names):
    """By any field of Logbook's, and by the time when a ticket was first seen."""
    found = api.json(f"{LIST}?order_by=occurrence_count&limit=3")["tickets"]
    assert found[-1]["id"] == names["third"]
    found = api.json(f"{LIST}?order_by=first_time")["tickets"]
    assert [each["id"] for each in found] == [names["first"], names["second"], names["third"]]


def test_pages_lead_to_each_other(api):
    """By links in the body, and in the header that RFC 8288 has for them."""
    seen = []
    path = f"{LIST}?limit=1&order_by=ticket_id"
    while path:
        answer = api.fetch(path)
        page = described(answer, "get", "/tickets")
        seen += [ticket["id"] for ticket in page["tickets"]]
        assert f'<{page["links"]["self"]}>; rel="self"' in answer.headers["Link"]
        path = page["links"].get("next")
    assert seen == sorted(seen)
    assert len(seen) == 3
    assert page["links"]["prev"] == f"{LIST}?limit=1&order_by=ticket_id&offset=1"

    assert api.json(f"{LIST}?offset=100")["tickets"] == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=0", "limit: expected 1 to 200, got 0"),
        ("limit=201", "limit: expected 1 to 200"),
        ("limit=x", "limit: expected a whole number, got 'x'"),
        ("limit=-1", "expected a whole number"),
        ("limit=1e3", "expected a whole number"),
        ("limit=%D9%A1", "expected a whole number"),
        ("limit=" + "9" * 5000, "expected a whole number"),
        ("offset=-1", "offset: expected"),
        ("offset=99999999999", "offset: expected 0 to 10,000,000"),
        ("order_by=nothing", "order_by: expected one of ticket_id"),
        ("order_by=", "order_by: expected one of"),
        ("order_by=--level", "order_by: expected one of"),
        ("sort=level", "sort: unknown; known: q, order_by, limit, offset"),
        ("limit=1&limit=2", "limit: is there twice"),
        ("q=" + "x" * 9000, "q: a query has at most"),
        ("q=%FF", "Bad Request"),
    ],
)
def test_parameters_that_make_no_sense_are_explained(api, query, text):
    """Nothing is guessed, nothing is left out in silence."""
    answer = api.fetch(f"{LIST}?{query}")

    document = described(answer, "get", "/tickets")
    assert answer.code == 400
    assert text in document["message"]


def test_a_ticket_is_told_whole(api, store, names):
    """With its issues in trackers."""
    store.save_issue(TrackerIssue(names["first"], "redmine", "17", "https://r.example/17"))

    found = described(api.fetch(f"{LIST}/{names['first']}"), "get", "/tickets/{ticket_id}")

    assert found["id"] == names["first"]
    assert found["issues"] == [
        {
            "tracker": "redmine",
            "issue_id": "17",
            "url": "https://r.example/17",
            "is_open": True,
            "commented_at": 0,
        }
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/tickets/0",
        "/tickets/999999",
        "/tickets/9223372036854775807",
        "/tickets/123456789012345678901234",
        "/tickets/" + "9" * 300,
        "/tickets/abcdefabcdefabcdefabcdef",
        "/tickets/x'--",
        "/tickets/%00",
        "/tickets/%D9%A1",
        "/tickets/-1",
        "/tickets/1.0",
        "/tickets/0/occurrences",
        "/tickets/0/history",
        "/occurrences/0",
        "/occurrences/x",
        "/values/password",
    ],
)
def test_what_is_not_there_is_not_found(api, path):
    """Whatever is in the place of an id."""
    assert api.fetch(PREFIX + path).code == 404


@pytest.mark.parametrize("ticket_id", ["0", "x", "123456789012345678901234", "9" * 18])
def test_what_is_not_there_is_not_changed(api, store, ticket_id):
    """By no method."""
    before = whole(store)
    for method, path, data in (
        ("PATCH", "", {"state": "solved"}),
        ("DELETE", "", None),
        ("POST", "/comments", {"text": "x"}),
        ("POST", "/merge", {"tickets": [ids(store)[0]]}),
        ("POST", "/split", {"occurrence": 1}),
    ):
        assert api.fetch(f"{LIST}/{ticket_id}{path}", method, data=data).code == 404
    assert whole(store) == before


def test_occurrences_are_told_with_their_record(api, names):
    """A page of them, the newest first."""
    path = f"{LIST}/{names['third']}/occurrences"
    found = described(api.fetch(f"{path}?limit=1"), "get", "/tickets/{ticket_id}/occurrences")

    assert [each["request_id"] for each in found["occurrences"]] == ["request-2"]
    assert found["occurrences"][0]["record"]["message"] == "third"
    assert not {"db", "details", "ticket_id"} & found["occurrences"][0]["record"].keys()
    older = api.json(found["links"]["next"])
    assert [each["request_id"] for each in older["occurrences"]] == ["request-1"]
    assert "next" not in older["links"]
    assert api.fetch(f"{path}?order_by=data").code == 400


def test_an_occurrence_is_told_with_what_led_up_to_it(api, store, names):
    """The records before it, oldest first."""
    first = store.get_occurrences(names["third"], "time")[0]

    answer = api.fetch(f"{PREFIX}/occurrences/{first.occurrence_id}")

    found = described(answer, "get", "/occurrences/{occurrence_id}")
    assert [record["message"] for record in found["leading"]] == ["before"]
    assert found["task_uuid"] == "task-1"


@pytest.mark.rule("Q-3")
@pytest.mark.parametrize(
    ("level", "told", "name"), [(99, 15, "CRITICAL"), (5, 14, "ERROR"), (0, 0, "NOTSET")]
)
def test_a_level_that_nobody_knows_is_told(api, store, level, told, name):
    """As the nearest that is known, or the one that older releases of Logbook meant."""
    store.record_entries([make_entry("odd", level=level, time=after(days=1))])

    found = described(api.fetch(f"{LIST}?limit=1"), "get", "/tickets")["tickets"][0]

    assert (found["level"], found["level_name"]) == (told, name)


@pytest.mark.rule("Q-3")
def test_a_damaged_occurrence_is_told_as_such(api, store):
    """What somebody else wrote into the store harms nobody who reads it."""
    store.record_entries([make_entry("broken", data='{"level": NaN, "msg": "\\ud800', leading="[")])
    ticket_id = ids(store)[-1]

    answer = api.fetch(f"{LIST}/{ticket_id}/occurrences")

    found = described(answer, "get", "/tickets/{ticket_id}/occurrences")
    assert len(found["occurrences"]) == 1
    path = f"{PREFIX}/occurrences/{found['occurrences'][0]['id']}"
    described(api.fetch(path), "get", "/occurrences/{occurrence_id}")


def test_a_request_leads_to_all_it_did(api, names):
    """Occurrences and tickets; likewise for a tree of actions."""
    found = described(api.fetch(f"{PREFIX}/requests/request-1"), "get", "/requests/{request_id}")
    assert found["request_id"] == "request-1"
    assert [each["ticket_id"] for each in found["occurrences"]] == [names["third"]]
    assert [each["id"] for each in found["tickets"]] == [names["third"]]

    found = described(api.fetch(f"{PREFIX}/tasks/task-1"), "get", "/tasks/{task_uuid}")
    assert len(found["occurrences"]) == 1
    assert api.json(f"{PREFIX}/requests/unknown%20%27--")["occurrences"] == []
    assert api.fetch(f"{PREFIX}/requests/a%0Ab").code == 400


def test_counts_are_told_by_the_hour_and_by_the_day(api, names):
    """From an hour to another, zeros included; unknown tickets have none."""
    query = f"tickets={names['third']},{names['first']},999999&since=2026-03-01T12:30:00Z"
    answer = api.fetch(f"{PREFIX}/counts?{query}&until=2026-03-01T16:00:00Z")

    found = described(answer, "get", "/counts")
    assert found["since"] == "2026-03-01T12:00:00.000000Z"
    assert found["counts"] == {
        str(names["third"]): [0, 0, 1, 1, 0],
        str(names["first"]): [1, 0, 0, 0, 0],
        "999999": [0, 0, 0, 0, 0],
    }
    days = api.json(f"{PREFIX}/counts?{query}&until=2026-03-02T00:00:00Z&step=day")
    assert days["counts"][str(names["third"])] == [2, 0]


def test_counts_are_of_the_last_day_or_month_unless_said(api, names):
    """24 hours, 30 days, the present one included."""
    for step, number in (("hour", 24), ("day", 30)):
        found = api.json(f"{PREFIX}/counts?tickets={names['first']}&step={step}")
        assert len(found["counts"][str(names["first"])]) == number


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "tickets: expected an id"),
        ("tickets=1,,2", "tickets: expected an id"),
        ("tickets=1&step=week", "step: expected hour or day, got 'week'"),
        ("tickets=1&since=yesterday", "since: expected a time, as in 2026"),
        ("tickets=1&since=2026-03-02&until=2026-03-01", "since: expected a time that is not after"),
        ("tickets=1&since=2000-01-01", "since: expected at most 1,000 hours"),
        ("tickets=1&since=0001-01-01&until=9999-12-31T23:59:59Z&step=day", "at most 1,000 days"),
        ("tickets=" + ",".join(map(str, range(501))), "tickets: expected 1 to 500 ids, got 501"),
    ],
)
def test_counts_that_make_no_sense_are_refused(api, query, text):
    """Too many as well: they would cost the store a lot."""
    answer = api.fetch(f"{PREFIX}/counts?{query}")

    assert answer.code == 400
    assert text in json.loads(answer.body)["message"]


def test_values_are_told_for_filters(api):
    """Those that tickets have."""
    found = described(api.fetch(f"{PREFIX}/values/release"), "get", "/values/{field}")

    assert found == {"field": "release", "values": ["1.0"]}


def test_who_asks_is_told(api):
    """Name and scopes."""
    assert described(api.fetch(f"{PREFIX}/me"), "get", "/me")["name"] == "robot"


# -- changing


def patch(api, ticket_id, **change):
    answer = api.fetch(f"{LIST}/{ticket_id}", "PATCH", data=change)
    assert answer.code == 200, answer.body
    return described(answer, "patch", "/tickets/{ticket_id}")


def test_a_ticket_is_solved_and_reopened(api, store, names):
    """At once, or in a release; history knows by whom."""
    assert patch(api, names["first"], state="solved")["state"] == "solved"
    assert patch(api, names["first"], state="new")["state"] == "new"
    changed = patch(api, names["first"], state="solved", release="2.0")
    assert (changed["state"], changed["solved_in"]) == ("solved", "2.0")

    history = store.get_history(names["first"])
    assert [item.action for item in history][:3] == ["solved", "reopened", "solved"]
    assert {item.actor for item in history[:3]} == {"robot"}


def test_a_ticket_is_ignored(api, names):
    """For good, until a time, for some more occurrences."""
    until = (datetime.now(UTC) + timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")

    changed = patch(api, names["third"], state="ignored", until=until, occurrences=10)

    assert changed["state"] == "ignored"
    assert changed["ignored_until"] == until
    assert changed["ignored_count"] == 12
    again = patch(api, names["third"], state="ignored", until=None)
    assert (again["ignored_until"], again["ignored_count"]) == (None, None)


def test_a_ticket_is_given_to_somebody(api, names):
    """And taken away; together with a state that makes one step of two."""
    assert patch(api, names["first"], assignee=" ada ")["assignee"] == "ada"
    assert patch(api, names["first"])["state"] == "assigned" if False else True
    changed = patch(api, names["first"], assignee=None)
    assert changed["assignee"] == ""
    changed = patch(api, names["first"], state="solved", assignee="bob")
    assert (changed["state"], changed["assignee"]) == ("solved", "bob")


@pytest.mark.parametrize(
    ("body", "text", "pointer"),
    [
        ({}, "expected a state or an assignee", "#"),
        ({"state": "closed"}, "state: expected new, solved or ignored, got 'closed'", "#/state"),
        ({"state": "assigned"}, "name an assignee instead", "#/state"),
        ({"state": "regressed"}, "becomes that when it occurs", "#/state"),
        ({"state": None}, "expected new, solved or ignored, got null", "#/state"),
        ({"state": ["solved"]}, "got an array", "#/state"),
        ({"State": "solved"}, "State: unknown; known: state, release", "#/State"),
        ({"state": "new", "release": "1"}, "with the state solved only", "#/release"),
        ({"state": "solved", "until": "2099-01-01"}, "with the state ignored only", "#/until"),
        ({"state": "ignored", "until": "2001-01-01"}, "a time to come", "#/until"),
        ({"state": "ignored", "until": 7}, "expected a time", "#/until"),
        ({"state": "ignored", "until": "9" * 100}, "expected a time", "#/until"),
        ({"state": "ignored", "occurrences": 0}, "expected 1 to 1,000,000,000", "#/occurrences"),
        ({"state": "ignored", "occurrences": 1.5}, "a whole number, got a number", "#/occurrences"),
        ({"state": "ignored", "occurrences": True}, "got a boolean", "#/occurrences"),
        ({"state": "ignored", "occurrences": 10**30}, "expected 1 to", "#/occurrences"),
        ({"state": "solved", "release": ""}, "expected some text", "#/release"),
        ({"state": "solved", "release": "1\n2"}, "one line", "#/release"),
        ({"assignee": "x" * 201}, "at most 200 characters, got 201", "#/assignee"),
        ({"assignee": "a\u0000b"}, "cannot be stored", "#/assignee"),
        ({"assignee": "\ud800"}, "cannot be stored", "#/assignee"),
        ({"assignee": 7}, "expected a string, got a number", "#/assignee"),
        ({"assignee": {"a": 1}}, "expected a string, got an object", "#/assignee"),
        ({"x" * 500: 1}, "unknown", None),
        ({"<script>": 1}, "unknown", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_change_that_makes_no_sense_is_explained(api, store, names, body, text, pointer):
    """With the member that is to blame; and nothing is changed."""
    before = whole(store)

    answer = api.fetch(f"{LIST}/{names['first']}", "PATCH", data=body, headers=PROBLEM)

    problem = described(answer, "patch", "/tickets/{ticket_id}")
    assert answer.code == 422
    assert text in problem["detail"]
    assert len(problem["detail"]) < 300
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer
    assert whole(store) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"state=solved", 400),
        (b'{"state": "solved", "state": "new"}', 400),
        (b'{"state": NaN}', 400),
        (b'{"occurrences": Infinity}', 400),
        (b"\xef\xbb\xbf{}", 400),
        (b'{"assignee": "\xff"}', 400),
        (b'{"state": "solved"} {}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (b"[]", 422),
        (b'"solved"', 422),
        (b"null", 422),
        (b"17", 422),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_object_is_refused(api, store, names, body, status):
    """Whatever it is, it is the client's fault."""
    before = whole(store)

    answer = api.fetch(
        f"{LIST}/{names['first']}",
        "PATCH",
        body=body,
        headers={"Content-Type": "application/json"},
    )

    assert answer.code == status, answer.body
    assert whole(store) == before


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"]
)
def test_a_body_says_that_it_is_json(api, names, content_type):
    """What browsers send for pages of other sites is something else."""
    answer = api.fetch(
        f"{LIST}/{names['first']}",
        "PATCH",
        body='{"state": "solved"}',
        headers={"Content-Type": content_type},
    )

    assert answer.code == 415


def test_a_body_that_is_too_long_is_not_read(api, names):
    """One mebibyte is plenty."""
    path = f"{LIST}/{names['first']}/comments"

    answer = api.fetch(path, "POST", data={"text": "x" * 2_000_000})

    assert answer.code == 413


def test_a_comment_is_added(api, store, names):
    """And told as the line of history that it is."""
    path = f"{LIST}/{names['first']}/comments"
    answer = api.fetch(path, "POST", data={"text": "Look at\n<b>this</b>, Ada ❤"})

    found = described(answer, "post", "/tickets/{ticket_id}/comments")
    assert answer.code == 201
    assert (found["actor"], found["action"]) == ("robot", "commented")
    assert found["text"] == "Look at\n<b>this</b>, Ada ❤"
    history = described(
        api.fetch(f"{LIST}/{names['first']}/history"), "get", "/tickets/{ticket_id}/history"
    )
    assert history["history"][0] == found
    assert api.fetch(f"{LIST}/{names['first']}/history?limit=1").code == 200


@pytest.mark.parametrize("text", [None, "", "  \n", "x" * 10_001, "\x00", 7, ["x"]], ids=repr)
def test_a_comment_says_something(api, names, text):
    """And not too much of it."""
    assert api.fetch(f"{LIST}/{names['first']}/comments", "POST", data={"text": text}).code == 422


def test_tickets_are_merged(api, store, names):
    """One takes over all of the others."""
    path = f"{LIST}/{names['first']}/merge"

    answer = api.fetch(path, "POST", data={"tickets": [names["second"], str(names["third"])]})

    found = described(answer, "post", "/tickets/{ticket_id}/merge")
    assert found["occurrence_count"] == 4
    assert api.json(LIST)["total"] == 1


def test_tickets_that_cannot_be_merged_are_not(api, store, names):
    """With themselves, with one that is not there, with none."""
    before = whole(store)
    for tickets in ([names["first"]], [999999], [], [names["second"], 999999], "1", [None]):
        path = f"{LIST}/{names['first']}/merge"
        answer = api.fetch(path, "POST", data={"tickets": tickets})
        assert answer.code == 422, tickets
    assert whole(store) == before


def test_a_ticket_is_split(api, store, names):
    """What is like an occurrence is a ticket of its own; the answer says where."""
    api.json(f"{LIST}/{names['first']}/merge", "POST", data={"tickets": [names["third"]]})
    newest = store.get_occurrences(names["first"], "-time")[0]

    path = f"{LIST}/{names['first']}/split"
    answer = api.fetch(path, "POST", data={"occurrence": newest.occurrence_id})

    found = described(answer, "post", "/tickets/{ticket_id}/split")
    assert answer.code == 201
    assert found["occurrence_count"] == 2
    assert api.json(answer.headers["Location"])["id"] == found["id"]
    again = api.fetch(path, "POST", data={"occurrence": newest.occurrence_id})
    assert again.code == 422


def test_a_ticket_is_deleted(api, store, names):
    """With no words about it."""
    answer = api.fetch(f"{LIST}/{names['first']}", "DELETE")

    described(answer, "delete", "/tickets/{ticket_id}")
    assert answer.code == 204
    assert store.get_ticket(names["first"]) is None
    assert api.fetch(f"{LIST}/{names['first']}", "DELETE").code == 404


def test_many_are_changed_at_once(api, store, names):
    """Those that are there; the others are named."""
    tickets = [names["first"], names["second"], 999999]
    data = {"tickets": tickets, "change": {"state": "solved", "assignee": "ada"}}
    found = described(api.fetch(f"{LIST}/bulk", "POST", data=data), "post", "/tickets/bulk")

    assert found == {"changed": tickets[:2], "unknown": [999999]}
    assert [store.get_ticket(each).status.state for each in tickets[:2]] == ["solved", "solved"]

    answer = api.fetch(f"{LIST}/bulk", "POST", data={"tickets": tickets, "delete": True})
    assert described(answer, "post", "/tickets/bulk") == {
        "deleted": tickets[:2],
        "unknown": [999999],
    }
    assert ids(store) == [names["third"]]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"tickets": [1]}, 'either a "change", or "delete": true'),
        ({"tickets": [1], "delete": False}, "either a"),
        ({"tickets": [1], "delete": 1}, "either a"),
        ({"tickets": [1], "delete": True, "change": {"state": "new"}}, "either a"),
        ({"tickets": [1], "delete": "yes", "change": {"state": "new"}}, "either a"),
        ({"change": {"state": "new"}}, "tickets: expected an array of ids, got null"),
        ({"tickets": [1], "change": "solved"}, "change: expected an object"),
        ({"tickets": [1], "change": {"state": "x"}}, "change/state: expected new"),
        ({"tickets": [1], "change": {}}, "change: expected a state"),
        ({"tickets": list(range(501)), "delete": True}, "expected 1 to 500 ids"),
        ({"tickets": [{}], "delete": True}, "tickets: expected an id"),
        ({"tickets": [1.5], "delete": True}, "tickets: expected an id"),
        ({"tickets": [True], "delete": True}, "tickets: expected an id"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_many_are_changed_with_care(api, store, body, text):
    """What is not clear changes nothing."""
    before = whole(store)

    answer = api.fetch(f"{LIST}/bulk", "POST", data=body)

    assert answer.code == 422
    assert text in json.loads(answer.body)["message"]
    assert whole(store) == before


# -- the description


def test_every_route_is_described():
    """Each path with each of its methods, and nothing that is not there."""
    from sprockets.tickets import _live

    found = {
        path: {
            method.lower()
            for method in handler.SUPPORTED_METHODS
            if method.lower() in vars(handler)
        }
        for path, handler in PATHS.items()
    }
    found |= {path.removeprefix(PREFIX): {"get"} for path, _ in _live.routes()}

    assert {path: set(methods) for path, methods in OPERATIONS.items()} == found


def test_the_description_is_whole(api):
    """All that is referred to is there, and all parts of paths are described."""
    answer = api.fetch(f"{PREFIX}/openapi.json")
    found = json.loads(answer.body)

    assert found == json.loads(json.dumps(describe(PREFIX)))
    assert found["openapi"].startswith("3.1")
    used = set()

    def visit(value):
        if isinstance(value, dict):
            if "$ref" in value:
                used.add(value["$ref"].rpartition("/")[2])
            for each in value.values():
                visit(each)
        elif isinstance(value, list):
            for each in value:
                visit(each)

    visit(found)
    assert used == found["components"]["schemas"].keys()
    for path, operations in found["paths"].items():
        names = {f"{{{each['name']}}}" for each in operations.get("parameters", ())}
        assert names == {part for part in path.split("/") if part.startswith("{")}
        for name, operation in operations.items():
            if name != "parameters":
                assert operation["summary"]
                assert "401" in operation["responses"]


# -- reading what programs send


@given(st.binary(max_size=200))
def test_no_body_harms(body):
    """It is an object, or a problem of the client's."""
    try:
        found, status = parse_object(body, "application/json"), 400
    except Problem as problem:
        found, status = {}, problem.status_code

    assert isinstance(found, dict)
    assert status in (400, 422)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(api_input.CHANGE_MEMBERS) | st.text(max_size=5),
        json_values | st.sampled_from(["solved", "ignored", "new", "2099-01-01"]),
        max_size=4,
    )
)
def test_no_change_harms(body):
    """It is one, or there is a member to blame; the text is short, whatever was sent."""
    text, change = "", Change()
    try:
        change = parse_change(body)
    except InputError as error:
        text = str(error)

    assert len(text) < 400
    assert change.state in (None, "new", "solved", "ignored")
    assert change.assignee is None or change.assignee.isprintable()


@given(st.text(max_size=80) | st.integers())
def test_an_id_is_what_stores_take(value):
    """A number of 64 bits, or text of ASCII letters and digits."""
    try:
        found = parse_id(value)
    except InputError:
        return
    assert (isinstance(found, int) and 0 <= found < 2**63) or (found.isascii() and found.isalnum())


def test_the_ids_of_mongodb_stay_text():
    """Also those that have decimal digits only."""
    assert parse_id("123456789012345678901234") == "123456789012345678901234"
    assert parse_id("17") == 17


def test_what_has_no_form_in_json_becomes_its_text():
    """Numbers beyond all bounds, and objects."""
    assert json.loads(to_json({"a": float("nan"), "b": after()}))["b"]
