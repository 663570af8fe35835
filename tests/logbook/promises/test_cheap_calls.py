"""What discarded calls cost, counted in calls of functions: that is the same on every machine."""

import io
import logging
import sys

import pytest

from sprockets.logbook import FileHandler, Logger, NullHandler, StreamHandler

LINE = (
    "[{record.time:%Y-%m-%d %H:%M:%S.%f}] {record.level_name}: {record.channel}: {record.message}"
)
STDLIB_LINE = "[%(asctime)s] %(levelname)s: %(name)s: %(message)s"


def cost_of(call):
    """Return how many functions *call* calls, itself included, when it is not the first time."""
    for _ in range(3):
        call("order accepted")
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        call("order accepted")
    finally:
        sys.setprofile(None)
    return count - 1  # that ends it


def stdlib_logger(handler, level=logging.INFO):
    log = logging.Logger("shop", level)
    log.addHandler(handler)
    return log


@pytest.mark.rule("P-F14", "P-P1")
def test_a_call_below_the_level_is_one_call(capsys):
    """The method's own, and nothing else."""
    log = Logger("shop", "WARNING")
    stdlib = stdlib_logger(logging.StreamHandler(io.StringIO()), logging.WARNING)

    with StreamHandler(io.StringIO()):
        cost = cost_of(log.info)

    assert cost == 1
    assert cost < cost_of(stdlib.info)


@pytest.mark.rule("P-F14", "P-S5")
def test_a_call_that_a_null_handler_takes_costs_a_fraction():
    """Of what it costs with `logging`, where the record is made first: less than a quarter."""
    with StreamHandler(io.StringIO()), NullHandler():
        cost = cost_of(Logger("shop").info)

    assert cost * 4 < cost_of(stdlib_logger(logging.NullHandler()).info)


@pytest.mark.rule("P-F14")
def test_a_call_that_a_filter_refuses_costs_less():
    """Though the record is made for it."""
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(lambda record: False)

    with NullHandler(), StreamHandler(io.StringIO(), filter=lambda record, handler: False):
        cost = cost_of(Logger("shop").info)

    assert cost < cost_of(stdlib_logger(handler).info)


@pytest.mark.rule("P-F14")
def test_a_line_in_a_file_costs_less(tmp_path):
    """Both say time, level, channel and message, and flush."""
    handler = logging.FileHandler(tmp_path / "stdlib.log")
    handler.setFormatter(logging.Formatter(STDLIB_LINE))
    stdlib_cost = cost_of(stdlib_logger(handler).info)
    handler.close()

    with FileHandler(tmp_path / "ours.log", format_string=LINE) as ours:
        cost = cost_of(Logger("shop").info)
    ours.close()

    assert cost * 2 < stdlib_cost
    lines = [(tmp_path / name).read_text().splitlines() for name in ("ours.log", "stdlib.log")]
    assert [len(one) for one in lines] == [4, 4]
