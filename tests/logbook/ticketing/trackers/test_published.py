"""What trackers publish of their interfaces: what is not so is found."""

import pytest

from tests.logbook.ticketing.trackers.published import Published

LIST = "GET /repos/{owner}/{repo}/issues"
MAKE = "POST /repos/{owner}/{repo}/issues"
CHANGE = "PATCH /repos/{owner}/{repo}/issues/{issue_number}"


@pytest.mark.parametrize(
    ("operation", "arguments", "body", "expected"),
    [
        (LIST, {"state": "all", "per_page": "50", "labels": "a"}, None, []),
        (LIST, {"state": "opened"}, None, ["state: 'opened' is none of ['open', 'closed', 'all']"]),
        (LIST, {"per_page": "many"}, None, ["per_page: 'many' is no integer"]),
        (LIST, {"search": "x"}, None, ["the parameter search is not published"]),
        (LIST, {}, {}, ["a body, where none is published"]),
        (MAKE, {}, {"title": "t", "labels": ["a"], "milestone": 3}, []),
        (MAKE, {}, {"body": "b"}, ["body: title is missing"]),
        (MAKE, {}, {"title": "t", "labels": "a"}, ["body.labels: 'a' is no array"]),
        (MAKE, {}, {"title": "t", "milestone": []}, ["body.milestone: [] is 0 of oneOf"]),
        (MAKE, {}, {"title": "t", "colour": "b"}, ["body: colour is not published"]),
        (MAKE, {}, None, ["body: None is no object"]),
        (CHANGE, {}, {"state": "closed", "state_reason": "completed"}, []),
        (CHANGE, {}, {"state": "solved"}, ["body.state: 'solved' is none of ['open', 'closed']"]),
    ],
)
def test_a_request_that_is_not_published_is_found(operation, arguments, body, expected):
    """Parameters, members, their types, and words to choose from."""
    published = Published("github")

    assert list(published.faults_of_request(operation, arguments, body)) == expected


def test_an_answer_that_is_not_published_is_found():
    """What is missing, of another type, or beyond; and another status."""
    published = Published("gitlab")
    note = "POST /projects/{id}/issues/{issue_iid}/notes"

    faults = list(published.faults_of_answer(note, 201, {"id": "1", "body": "b", "more": 1}))
    status = list(published.faults_of_answer(note, 204, None))

    assert "answer: author is missing" in faults
    assert "answer.id: '1' is no integer" in faults
    assert "answer: more is not published" in faults
    assert status == ["the status 204 is not published"]
