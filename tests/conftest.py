"""What all tests share: the numbered promises they keep, and a list of them."""

from collections import defaultdict

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rules",
        action="store_true",
        help="list the numbered promises with the tests that keep them, and run none",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.rules:
        config.option.collectonly = True


def _sort_key(rule: str) -> tuple[str, int, str]:
    prefix, _, number = rule.partition("-")
    digits = "".join(character for character in number if character.isdigit())
    return prefix, int(digits or 0), number


def _promise(item: pytest.Item) -> str:
    doc = (getattr(getattr(item, "obj", None), "__doc__", None) or "").strip()
    return doc.splitlines()[0] if doc else item.name


# First, so that nothing is left for pytest itself to list.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.rules:
        return
    tests: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for item in session.items:
        for mark in item.iter_markers("rule"):
            for rule in mark.args:
                # A parametrized test is one test.
                tests[rule].setdefault(item.nodeid.partition("[")[0], _promise(item))
    write = session.config.get_terminal_writer()
    write.line()
    for rule in sorted(tests, key=_sort_key):
        for name, promise in sorted(tests[rule].items()):
            write.line(f"{rule:8} {promise}  ({name})")
    write.line(f"{len(tests)} promises, {sum(map(len, tests.values()))} tests")
    session.items.clear()


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A list was asked for and given; that there is nothing to run is no failure.
    if session.config.option.rules and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
