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
