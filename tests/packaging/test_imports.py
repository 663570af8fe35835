"""What an import needs: little."""

import subprocess
import sys
import textwrap

import pytest

# Refuses whatever is neither of the standard library nor ours.
GUARD = """
import sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"distutils", "pkg_resources", "setuptools"} or (
            top != "sprockets" and top not in sys.stdlib_module_names
        ) or name.startswith("sprockets.mixins"):
            raise ModuleNotFoundError(f"refused: {name}", name=name)
        return None

# What the interpreter's start brought does not count.
for name in list(sys.modules):
    if name.partition(".")[0] not in {*sys.stdlib_module_names, "__main__"} - {"distutils"}:
        if not name.startswith("__editable__"):
            del sys.modules[name]
sys.meta_path.insert(0, Guard())
"""


def run(code: str) -> str:
    """Run *code* behind the guard, and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", GUARD + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_guard_guards():
    """The second opinion is one: it does refuse what is installed here."""
    out = run(
        """
        try:
            import pytest
        except ModuleNotFoundError as error:
            print(error)
        """
    )

    assert out == "refused: pytest\n"


def test_records_need_the_standard_library_alone():
    """`sprockets.logbook` is imported and used with nothing else, setuptools included."""
    out = run(
        """
        from sprockets.logbook import Logger, TestHandler
        with TestHandler() as handler:
            Logger("shop").warning("{} left", 3)
        print(handler.formatted_records)
        """
    )

    assert out == "['[WARNING] shop: 3 left']\n"


def test_every_module_of_records_needs_the_standard_library_alone():
    """Libraries that are extras are imported by what needs them when it is made, not before."""
    out = run(
        """
        import importlib, pkgutil, sprockets.logbook
        modules = pkgutil.walk_packages(sprockets.logbook.__path__, "sprockets.logbook.")
        # The plug-in is imported by pytest, which is there then.
        names = [module.name for module in modules if not module.name.endswith("pytest_plugin")]
        for name in names:
            importlib.import_module(name)
        print(len(names) > 20)
        """
    )

    assert out == "True\n"


def test_importing_records_starts_nothing():
    """An import makes no thread, and brings none of the heavy parts of the standard library."""
    out = run(
        """
        before = set(sys.modules)
        import sprockets.logbook
        import threading
        heavy = {"asyncio", "email", "http", "logging", "socket", "ssl", "subprocess"}
        heavy |= {"dataclasses", "hashlib", "inspect", "json", "re", "traceback", "typing"}
        print(sorted(heavy & (set(sys.modules) - before)), threading.active_count())
        """
    )

    assert out == "[] 1\n"


def test_importing_services_brings_nothing_that_serves():
    """Whoever only imports the package does not pay for Tornado, nor for records."""
    out = run(
        """
        before = set(sys.modules)
        import sprockets.http
        brought = {name.partition(".")[0] for name in set(sys.modules) - before}
        ours = sorted(name for name in set(sys.modules) - before if name.startswith("sprockets."))
        heavy = {"asyncio", "logging", "re", "socket", "ssl", "tornado", "typing", "zmq"}
        print(ours, sorted(heavy & brought), sprockets.http.__version__)
        """
    )

    assert out == "['sprockets.http', 'sprockets.http._unset'] [] 3.0.0\n"


def test_modules_of_services_are_there_without_importing_each():
    """``import sprockets.http`` is enough for its public modules, as it always was."""
    result = subprocess.run(
        [
            *(sys.executable, "-P", "-W", "error", "-c"),
            "import sprockets.http as http; print(http.runner.Runner, http.app, http.testing)\n"
            "try: http.nonsense\n"
            "except AttributeError as error: print(error)",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert "module 'sprockets.http' has no attribute 'nonsense'" in result.stdout


def test_a_console_is_there_for_little():
    """The first three lines of a program bring no file formats, no network, and no stdlib logging.

    The last comes with binding, which redirects it.
    """
    out = run(
        """
        before = set(sys.modules)
        from sprockets.logbook import Logger, setups
        setups.console()
        heavy = {"asyncio", "dataclasses", "email", "hashlib", "http", "inspect", "json"}
        heavy |= {"logging", "pathlib", "re", "socket", "ssl", "subprocess", "tomllib"}
        heavy |= {"traceback", "typing"}
        brought = set(sys.modules) - before
        print(sorted(heavy & brought))
        print(sorted(name for name in brought if name.startswith("sprockets.logbook._setups.")))
        """
    )

    assert out.splitlines() == [
        "[]",
        "['sprockets.logbook._setups._binding', 'sprockets.logbook._setups._bundle',"
        " 'sprockets.logbook._setups._ready']",
    ]


@pytest.mark.parametrize("package", ["_support", "logbook", "eliot", "http", "tickets", "commands"])
def test_importing_public_modules_is_silent(package: str):
    """No warning of ours, whoever has made errors of them, and nothing is printed.

    What needs a library that is not here says so, and is passed over.
    """
    program = f"""
import importlib, pkgutil
import sprockets.{package} as package
from sprockets._support.optional import MissingDependency
names = ["sprockets.{package}"]
names += [module.name for module in pkgutil.walk_packages(package.__path__, names[0] + ".")]
public = [name for name in names if "._" not in name.removeprefix("sprockets._support")]
done = 0
for name in public:
    # The entry points of commands, and what pytest imports.
    if name.rpartition(".")[2] in ("__main__", "pytest_plugin", "pytest_eliot", "pytest_http"):
        continue
    try:
        importlib.import_module(name)
    except MissingDependency:
        continue
    done += 1
assert done, public
"""

    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("first", ["sprockets.logbook", "sprockets.mixins.mediatype"])
def test_the_namespace_is_shared(first: str):
    """Ours and another distribution of the namespace are imported together, in either order."""
    names = ["sprockets.logbook", "sprockets.mixins.mediatype"]
    names.sort(key=lambda name: name != first)

    result = subprocess.run(
        [sys.executable, "-P", "-c", f"import {names[0]}, {names[1]}; print({first}.__name__)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (result.stdout, result.returncode) == (f"{first}\n", 0), result.stderr
