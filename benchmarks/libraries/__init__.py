"""The libraries compared, one module each, all put to the same questions."""

from importlib import import_module
from pathlib import Path

from benchmarks.cases import Library

# We come first, then those we measure ourselves against.
LIBRARIES = {
    "ours": "benchmarks.libraries._ours:Ours",
    "stdlib": "benchmarks.libraries._stdlib:Stdlib",
    "stdlib tuned": "benchmarks.libraries._stdlib:TunedStdlib",
    "picologging": "benchmarks.libraries._picologging:Picologging",
    "Logbook": "benchmarks.libraries._logbook:Logbook",
    "loguru": "benchmarks.libraries._loguru:Loguru",
    "structlog": "benchmarks.libraries._structlog:Structlog",
    "Eliot": "benchmarks.libraries._eliot:Eliot",
}


def load(name: str, folder: Path) -> Library:
    """Return the library called *name*, which may write files into *folder*.

    Raises:
        ImportError: It is not installed.
    """
    module, _, what = LIBRARIES[name].partition(":")
    library: Library = getattr(import_module(module), what)(folder)
    library.prepare()
    return library
