"""Records that led up to another: those of the same request, and no other's."""

import os

import pytest

from sprockets.logbook import ERROR, Fields, Logger, NullHandler, TestHandler
from sprockets.logbook.ticketing._leading import LeadingRecordsHandler

log = Logger("shop")


class Batches(TestHandler):
    """Keeps batches as they come."""

    def __init__(self, **options):
        super().__init__(level=ERROR, **options)
        self.batches = []

    def emit_batch(self, records, reason):
        self.batches.append((reason, [record.message for record in records]))


def in_request(name, *messages):
    with Fields(request_id=name):
        for level, message in messages:
            log.log(level, message)


def test_a_record_comes_with_those_of_its_request_before_it():
    """And others with theirs, however they alternate."""
    counted = Batches()
    with NullHandler(), LeadingRecordsHandler(counted):
        in_request("a", ("INFO", "a1"))
        in_request("b", ("INFO", "b1"), ("WARNING", "b2"))
        in_request("a", ("ERROR", "a2"))
        in_request("b", ("ERROR", "b3"))

    assert counted.batches == [
        ("escalation", ["a1", "a2"]),
        ("escalation", ["b1", "b2", "b3"]),
    ]


def test_a_second_failure_comes_with_the_first():
    """What led to it is not forgotten by then."""
    counted = Batches()
    with NullHandler(), LeadingRecordsHandler(counted):
        in_request("a", ("INFO", "1"), ("ERROR", "2"), ("ERROR", "3"))

    assert [batch for _, batch in counted.batches] == [["1", "2"], ["1", "2", "3"]]


def test_only_so_many_are_kept_of_so_many_requests(monkeypatch):
    """The newest of each, and of the requests those that logged last."""
    monkeypatch.setattr("sprockets.logbook.ticketing._leading._MAX_GROUPS", 2)
    counted = Batches()
    with NullHandler(), LeadingRecordsHandler(counted, size=2) as leading:
        in_request("a", ("INFO", "a1"))
        in_request("b", ("INFO", "b1"), ("INFO", "b2"), ("INFO", "b3"))
        in_request("c", ("INFO", "c1"))
        in_request("a", ("ERROR", "a2"))
        in_request("c", ("ERROR", "c2"))

    assert [batch for _, batch in counted.batches] == [["a2"], ["c1", "c2"]]
    assert leading.dropped == 1


def test_a_record_of_no_request_goes_on_by_itself():
    """If it is wanted at all."""
    counted = Batches()
    with NullHandler(), LeadingRecordsHandler(counted):
        log.info("1")
        log.error("2")

    assert counted.batches == []
    assert [record.message for record in counted.records] == ["2"]


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", ["1", "2", "3"]), ("NOTICE", ["3"])])
def test_the_level_says_what_is_kept(level, expected):
    """Below that, nobody is interested."""
    counted = Batches()
    with NullHandler(), LeadingRecordsHandler(counted, level):
        in_request("a", ("DEBUG", "1"), ("INFO", "2"), ("ERROR", "3"))

    assert [batch for _, batch in counted.batches] == [expected]


def test_the_filter_of_the_wrapped_handler_says_what_is_counted():
    """What it leaves out is still what led to another."""
    counted = Batches(filter=lambda record, handler: record.message != "not this")
    with NullHandler(), LeadingRecordsHandler(counted):
        in_request("a", ("ERROR", "not this"), ("ERROR", "this"))

    assert [batch for _, batch in counted.batches] == [["not this", "this"]]


def test_what_is_bound_twice_counts_once():
    """For the application, and again for a request."""
    counted = Batches()
    leading = LeadingRecordsHandler(counted, bubble=True)
    with NullHandler(), leading.applicationbound(), leading.contextbound():
        in_request("a", ("INFO", "1"), ("ERROR", "2"))

    assert [batch for _, batch in counted.batches] == [["1", "2"]]


def test_a_forked_child_knows_nothing_of_requests_before_it():
    """They are its parent's."""
    counted = Batches()
    with NullHandler(), LeadingRecordsHandler(counted):
        in_request("a", ("INFO", "1"))
        pid = os.fork()
        if pid == 0:
            in_request("a", ("ERROR", "2"))
            os._exit(0 if counted.batches == [("escalation", ["2"])] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        in_request("a", ("ERROR", "3"))

    assert [batch for _, batch in counted.batches] == [["1", "3"]]


def test_a_size_of_nothing_is_refused():
    """The record itself is one."""
    with pytest.raises(ValueError, match="size must be 1 or more, got 0"):
        LeadingRecordsHandler(Batches(), size=0)
