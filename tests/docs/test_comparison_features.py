"""What the page about logging libraries says that they can do is asked of those that are installed."""

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/comparison-logging.rst"
COLUMNS = ["ours", "stdlib", "Logbook", "loguru", "structlog", "Eliot", "picologging"]
MODULES = {
    "ours": "sprockets.logbook",
    "stdlib": "logging",
    "Logbook": "logbook",
    "loguru": "loguru",
    "structlog": "structlog",
    "Eliot": "eliot",
    "picologging": "picologging",
}
DISTRIBUTIONS = {**MODULES, "ours": "sprockets.http"}


def _rows() -> dict[str, dict[str, str]]:
    """Return the cells of the table of features, by row and library, without marks."""
    table = PAGE.read_text("utf-8").partition("\nWhat each can do\n")[2]
    rows = {}
    for row in re.findall(r"^   \* - (.*\n(?:     - .*\n)+)", table, re.MULTILINE):
        title, *cells = (cell.strip() for cell in re.split(r"^     - ", row, flags=re.MULTILINE))
        rows[title.partition(" [")[0]] = dict(
            zip(COLUMNS, (cell.replace("**", "") for cell in cells), strict=True)
        )
    return rows


ROWS = _rows()
TITLES = {
    "setup": "readable lines with no set-up",
    "json": "JSON lines without a formatter of one's own",
    "fields": "fields bound to a context",
    "handlers": "handlers bound to a context, a request, a test",
    "tree": "a tree of what caused what",
    "tests": "a helper for tests",
    "levels": "levels of one's own",
    "needs": "needs other distributions",
    "compiled": "a compiled core",
    "python": "Python before 3.10",
}


@pytest.fixture(name="library", params=COLUMNS)
def _library(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(MODULES[request.param])
    return str(request.param)


def _says(row: str, library: str) -> str:
    return ROWS[TITLES[row]][library]


def _names(library: str) -> Iterator[str]:
    """Yield all names that the library's modules have, and those of its classes' members."""
    package = importlib.import_module(MODULES[library])
    modules = [package]
    for found in pkgutil.iter_modules(getattr(package, "__path__", [])):
        if found.name.startswith("_") or found.name == "tests":
            continue
        try:
            modules.append(importlib.import_module(f"{package.__name__}.{found.name}"))
        except ImportError:
            continue  # what it needs is not installed
    for module in modules:
        for name in dir(module):
            yield name
            try:
                thing = getattr(module, name)
            except ImportError:
                continue
            if (getattr(thing, "__module__", None) or "").startswith(package.__name__):
                yield from dir(thing)


CALLS = {
    "ours": "from sprockets.logbook import Logger; log = Logger('x').{}",
    "stdlib": "import logging; log = logging.getLogger('x').{}",
    "Logbook": "import logbook; log = logbook.Logger('x').{}",
    "loguru": "from loguru import logger; log = logger.{}",
    "structlog": "import structlog; log = structlog.get_logger().{}",
    "Eliot": "import eliot; log = lambda text: eliot.log_message(message_type=text)",
    "picologging": "import picologging; log = picologging.getLogger('x').{}",
}


def _is_written(library: str, level: str) -> bool:
    code = f"{CALLS[library].format(level)}; log('the till is open')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    return "the till is open" in done.stdout + done.stderr


def test_what_is_written_with_no_set_up(library: str):
    """All, warnings, or nothing."""
    written = [level for level in ("info", "warning") if _is_written(library, level)]

    kinds = {("info", "warning"): "yes", ("warning",): "warnings only", (): "no"}
    assert kinds[tuple(written)] == _says("setup", library)


def test_who_writes_json(library: str):
    """Formatters, renderers, encoders, or an option by which a sink writes it."""
    has_one = any(
        re.search(r"JSON(Formatter|Renderer|Encoder)|^serialize$|_serialize_record", name)
        for name in {*_names(library), *_options_of_add(library)}
    )

    assert ("yes" if has_one else "no") == _says("json", library)


def _options_of_add(library: str) -> list[str]:
    if library != "loguru":
        return []
    logger = importlib.import_module("loguru").logger
    return list(type(logger).add.__kwdefaults__)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("fields", {"Fields", "Processor", "contextualize", "bound_contextvars", "start_action"}),
        ("handlers", {"applicationbound"}),
        ("tree", {"start_action"}),
        ("tests", {"TestHandler", "capture_logs", "capture_logging", "assertLogs"}),
        ("levels", {"addLevelName", "level"}),
    ],
)
def test_who_has_names_for_it(row: str, names: set[str], library: str):
    """Where the table says yes there is a name for it, and where it says no there is none."""
    has = set(_names(library))
    if library == "ours":
        has |= set(importlib.import_module("sprockets.eliot").__all__)
    if library == "stdlib":
        has |= set(dir(importlib.import_module("unittest").TestCase))
    if library == "loguru":
        has |= set(dir(importlib.import_module("loguru").logger))
    if row == "levels" and library != "loguru":
        names = {"addLevelName"}

    says = _says(row, library)

    assert bool(has & names) == (says in ("yes", "in actions"))


def _requirements(library: str) -> list[str]:
    """Return what is installed along with the library, here and on this Python."""
    if library == "stdlib":
        return []
    listed = importlib.metadata.requires(DISTRIBUTIONS[library]) or []
    needed = [line for line in listed if "extra ==" not in line]
    return [
        re.match(r"[\w.-]+", line)[0]
        for line in needed
        if not re.search(r"sys_platform ?== ?'win32'|python_version ?< ?'3\.\d+'", line)
    ]


def test_what_else_gets_installed(library: str):
    """None, or which."""
    needed = _requirements(library)

    words = {
        0: "none",
        1: needed[0] if needed else "",
        3: "Tornado, pyzmq, mediatype",
        4: "four",
    }
    assert words[len(needed)] == _says("needs", library)


def test_whose_core_is_compiled(library: str):
    """There is an extension module among what is installed."""
    files = [] if library == "stdlib" else importlib.metadata.files(DISTRIBUTIONS[library])
    is_compiled = any(file.suffix in (".so", ".pyd") for file in files or [])

    assert ("yes" if is_compiled else "no") == _says("compiled", library)


def test_who_runs_on_older_pythons(library: str):
    """What the distribution says that it requires."""
    if library == "stdlib":
        return
    oldest = importlib.metadata.metadata(DISTRIBUTIONS[library])["Requires-Python"]
    minor = int(re.search(r">=3\.(\d+)", oldest)[1])

    wanted = "no" if minor >= 10 else "3.9" if minor == 9 else "yes"
    assert wanted == _says("python", library)
