"""Runs the examples of the pages, here and in ``docs/``, each page from top to bottom.

And says how hypothesis looks for examples.
"""

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers import markdown, rest

# A shell has what it starts in the background ignore these, and that what it starts in turn; but
# tests interrupt programs.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _is_interrupt = _number == signal.SIGINT
        signal.signal(_number, signal.default_int_handler if _is_interrupt else signal.SIG_DFL)

# The same examples each time, and no limits of time: others use the machine, too.
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")

# What tests share, and asserts in; known before anybody can import it.
pytest.register_assert_rewrite(
    "tests.logbook.ticketing.contract",
    "tests.logbook.ticketing.walking",
    "tests.tickets.driver",
    "tests.tickets.pages.serving",
)

_PAGES = {".md", ".rst"}

# Two kinds of page; Sybil's own way to collect with both.
pytest_collect_file = (
    Sybil(
        parsers=[rest.DocTestParser(), rest.PythonCodeBlockParser()],
        patterns=["docs/*.rst", "docs/**/*.rst"],
        excludes=["docs/_build/**"],
    )
    + Sybil(
        parsers=[markdown.PythonCodeBlockParser()],
        patterns=["README.md", "CHANGELOG.md", "CONTRIBUTING.md"],
    )
).pytest()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run in several processes at once, keep the examples of a page together."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class PagesTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            page, _, _ = nodeid.partition("::")
            return page if Path(page).suffix in _PAGES else nodeid

    return PagesTogether(config, log)


def _place(item: pytest.Item) -> tuple[str, int]:
    return str(item.path), item.reportinfo()[1] or 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Tests are shuffled, and the examples of a page with them; but a later example needs the
    # earlier ones.  So those go back into the places that examples got, in reading order.
    places = [index for index, item in enumerate(items) if Path(item.path).suffix in _PAGES]
    for index, item in zip(places, sorted((items[i] for i in places), key=_place), strict=True):
        items[index] = item
