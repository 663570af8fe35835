"""The scoreboard: counters that parent and workers share, and that never go back."""

import os
from bisect import bisect_left
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sprockets.http._scoreboard import BUCKETS, DRAINING, SERVING, STARTING, STATES, Scoreboard

CLEARED = ["pid", "state", "generation", "is_ready", "has_failed", "connections"]
TIMES = ["started_at", "beat_at", "lag", "lag_max"]
KEPT = ["client_gone", "cut"]
SERVICE = ["state", "generation", "target", "restarts", "hung", "reloads", "failed_reloads"]


def in_child(function):
    """Run *function* in a forked process, and wait for its end."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0


def test_a_new_board_is_empty():
    """All is zero, and nobody lives there."""
    board = Scoreboard(3)

    assert len(board.rows) == 3
    assert board.workers() == []
    assert all(board[name] == 0 for name in [*SERVICE, "started_at"])
    for row in board.rows:
        assert all(row[name] == 0 for name in [*CLEARED, *TIMES, *KEPT, "begun", "seconds"])
        assert (row.requests, row.in_flight) == (0, 0)
    totals = board.totals()
    assert (totals.requests, totals.in_flight, totals.seconds) == (0, 0, 0)


def test_cells_do_not_overlap():
    """Each row has its own, and the service too."""
    board = Scoreboard(2)
    number = 0
    wanted = {}
    for place in (board, *board.rows):
        names = SERVICE if place is board else [*CLEARED, *KEPT, "begun"]
        for name in names:
            number += 1
            place[name] = number
            wanted[id(place), name] = number
        times = ["started_at"] if place is board else [*TIMES, "seconds"]
        for name in times:
            number += 1
            place[name] = number + 0.5
            wanted[id(place), name] = number + 0.5

    found = {
        (id(place), name): place[name]
        for place in (board, *board.rows)
        for name in (
            [*SERVICE, "started_at"]
            if place is board
            else [*CLEARED, *KEPT, "begun", *TIMES, "seconds"]
        )
    }

    assert found == wanted
    assert all(not any(map(sum, row.answers)) for row in board.rows)


def test_an_unknown_cell_is_an_error():
    """A mistyped name must not be a counter of its own."""
    board = Scoreboard()

    with pytest.raises(KeyError):
        board["restart"]
    with pytest.raises(KeyError):
        board.rows[0]["request"] = 1


@pytest.mark.parametrize(
    ("status_code", "kind"),
    [(0, 0), (100, 1), (101, 1), (200, 2), (304, 3), (404, 4), (500, 5), (599, 5), (623, 5)],
)
def test_answers_are_counted_by_class_of_status_code(status_code, kind):
    """Those that are no answers at all too, and those that no table knows."""
    row = Scoreboard().rows[0]
    row.enter()

    row.leave(status_code, 0.0)

    assert [sum(counts) for counts in row.answers] == [int(each == kind) for each in range(6)]


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.005, 0), (0.0051, 1), (0.01, 1), (1.0, 7), (10.0, 10), (10.1, 11), (1e6, 11)],
)
def test_answers_are_counted_by_their_duration(seconds, bucket):
    """An upper bound belongs to its bucket, as Prometheus wants it; the last has none."""
    board = Scoreboard()
    board.rows[0].enter()

    board.rows[0].leave(200, seconds)

    totals = board.totals()
    assert [number for number, count in enumerate(totals.by_duration) if count] == [bucket]
    assert totals.seconds == seconds


def test_requests_are_in_flight_from_their_beginning_to_their_end():
    """Whatever came of them."""
    board = Scoreboard()
    row = board.rows[0]
    row.enter()
    row.enter()
    row.leave(0, 0.1)

    assert (row.requests, row.in_flight) == (1, 1)
    assert (board.totals().requests, board.totals().in_flight) == (1, 1)


def test_a_cleared_row_forgets_the_worker_and_keeps_what_counts_up():
    """And requests that ended with their worker are in flight no more."""
    board = Scoreboard()
    row = board.rows[0]
    for name in [*CLEARED, *TIMES, *KEPT]:
        row[name] = 7
    row.enter()
    row.enter()
    row.leave(200, 0.5)
    row.add("client_gone")

    row.clear()

    assert all(row[name] == 0 for name in [*CLEARED, *TIMES])
    assert (row["client_gone"], row["cut"]) == (8, 7)
    assert (row.requests, row.in_flight, row["seconds"]) == (1, 0, 0.5)


def test_free_rows_are_those_without_a_process():
    """They are used again; where there is none left there is None."""
    board = Scoreboard(2)
    first = board.find_free()
    first["pid"] = 11
    second = board.find_free()
    second["pid"] = 12

    assert [row["pid"] for row in board.workers()] == [11, 12]
    assert board.find_free() is None
    first.clear()
    assert board.find_free() is first
    assert board.workers() == [second]


def test_what_a_worker_writes_its_parent_and_its_siblings_read():
    """The memory is shared across forks, also of processes that are gone."""
    board = Scoreboard(2)

    def work(number):
        row = board.rows[number]
        row["pid"] = os.getpid()
        row["lag"] = 0.25
        for _ in range(1000):
            row.enter()
            row.leave(200 + 100 * number, 0.001)
        row.enter()
        board["restarts"] += 1

    in_child(lambda: work(0))
    in_child(lambda: work(1))

    assert [row["pid"] != os.getpid() for row in board.rows] == [True, True]
    assert [row["lag"] for row in board.rows] == [0.25, 0.25]
    assert board["restarts"] == 2
    totals = board.totals()
    assert (totals.requests, totals.in_flight) == (2000, 2)
    assert totals.by_status == (0, 0, 1000, 1000, 0, 0)


def test_states_have_names():
    """Those that people are shown."""
    assert [STATES[state] for state in (0, STARTING, SERVING, DRAINING)] == [
        *("empty", "starting", "serving", "draining")
    ]


@given(
    answers=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 999), st.floats(0, 100)), max_size=50
    )
)
def test_the_table_adds_up_in_every_direction(answers):
    """By status, by duration and altogether there are as many as there were."""
    board = Scoreboard(4)
    for number, status_code, seconds in answers:
        board.rows[number].enter()
        board.rows[number].leave(status_code, seconds)

    totals = board.totals()

    assert totals.requests == sum(totals.by_status) == sum(totals.by_duration) == len(answers)
    assert totals.in_flight == 0
    assert totals.seconds == pytest.approx(sum(seconds for _, _, seconds in answers))
    for bucket, bound in enumerate(BUCKETS):
        below = sum(seconds <= bound for _, _, seconds in answers)
        assert sum(totals.by_duration[: bucket + 1]) == below


@dataclass
class PlainRow:
    """The same in plain Python."""

    pid: int = 0
    in_flight: int = 0
    ended: list[tuple[int, float]] = field(default_factory=list)
    gone: int = 0


class BoardAndModel(RuleBasedStateMachine):
    """Workers come, answer requests, and die with some in flight."""

    def __init__(self):
        super().__init__()
        self.board = Scoreboard(3)
        self.model = [PlainRow() for _ in range(3)]
        self.next_pid = 100
        self.before = self.board.totals()

    @precondition(lambda self: any(not row.pid for row in self.model))
    @rule()
    def a_worker_comes(self):
        row = self.board.find_free()
        row.clear()
        row["pid"] = self.next_pid
        self.model[self.board.rows.index(row)].pid = self.next_pid
        self.next_pid += 1

    @rule(number=st.integers(0, 2))
    def a_worker_goes(self, number):
        self.board.rows[number].clear()
        self.model[number].pid = self.model[number].in_flight = 0

    @rule(number=st.integers(0, 2))
    def a_request_begins(self, number):
        if self.model[number].pid:
            self.board.rows[number].enter()
            self.model[number].in_flight += 1

    @rule(number=st.integers(0, 2), status_code=st.integers(0, 623), seconds=st.floats(0, 20))
    def a_request_ends(self, number, status_code, seconds):
        if self.model[number].in_flight:
            self.board.rows[number].leave(status_code, seconds)
            self.model[number].in_flight -= 1
            self.model[number].ended.append((status_code, seconds))

    @rule(number=st.integers(0, 2))
    def a_client_goes(self, number):
        self.board.rows[number].add("client_gone")
        self.model[number].gone += 1

    @invariant()
    def totals_are_those_of_the_model_and_never_go_back(self):
        totals, before = self.board.totals(), self.before
        ended = [each for row in self.model for each in row.ended]
        assert totals.requests == len(ended)
        assert totals.in_flight == sum(row.in_flight for row in self.model)
        assert totals.client_gone == sum(row.gone for row in self.model)
        assert totals.seconds == pytest.approx(sum(seconds for _, seconds in ended))
        assert totals.by_status == tuple(
            sum(min(code // 100, 5) == kind for code, _ in ended) for kind in range(6)
        )
        assert totals.by_duration == tuple(
            sum(bisect_left(BUCKETS, seconds) == bucket for _, seconds in ended)
            for bucket in range(len(BUCKETS) + 1)
        )
        assert [row["pid"] for row in self.board.workers()] == [
            row.pid for row in self.model if row.pid
        ]
        assert totals.requests >= before.requests
        assert totals.client_gone >= before.client_gone
        assert totals.seconds >= before.seconds
        assert all(map(int.__ge__, totals.by_status, before.by_status))
        assert all(map(int.__ge__, totals.by_duration, before.by_duration))
        self.before = totals


TestBoardAndModel = BoardAndModel.TestCase
