"""What the guides for those who come from Logbook and Eliot say of names holds for what is installed."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

GUIDES = Path(__file__).resolve().parents[2] / "docs/migrating"
PEERS = [name for name in ("logbook", "eliot") if importlib.util.find_spec(name)]
VARIABLE = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def _modules(peer: str) -> Iterator[str]:
    """Yield the names of the public modules of *peer*, without its tests."""
    yield peer
    locations = importlib.util.find_spec(peer).submodule_search_locations
    for found in pkgutil.iter_modules(locations):
        if not found.name.startswith("_") and found.name != "tests":
            yield f"{peer}.{found.name}"


MODULES = [name for peer in PEERS for name in _modules(peer)]


def _left_out(peer: str) -> set[str]:
    """Return the names in the first column of the guide's table of what there is not."""
    text = (GUIDES / f"from-{peer}.rst").read_text("utf-8")
    section = text.partition("\nWhat there is not\n")[2].partition("\nChecklist\n")[0]
    cells = re.findall(r"^   \* - (.*?)^     - ", section, re.MULTILINE | re.DOTALL)
    return {name for cell in cells for name in re.findall(r"``([^`]+)``", cell)}


def _is_left_out(name: str) -> bool:
    told = _left_out(name.partition(".")[0])
    return name in told or name.rpartition(".")[2] in told


def _is_constant(name: str, module: ModuleType) -> bool:
    """Return whether *name* is a constant of this module, and not one that it has imported."""
    if not name.isupper() or not isinstance(
        getattr(module, name), str | int | float | tuple | set | frozenset
    ):
        return False
    peer = module.__name__.partition(".")[0]
    locations = importlib.import_module(peer).__path__
    for found in pkgutil.iter_modules(locations, f"{peer}."):
        if found.name == module.__name__ or found.name.endswith(".tests"):
            continue
        try:
            if name in vars(importlib.import_module(found.name)):
                return False
        except ImportError:
            continue  # what it needs is not installed
    return True


def _public(module: ModuleType) -> Iterator[str]:
    """Yield what *module* has for its users: what it lists, or else what it defines."""
    if hasattr(module, "__all__"):
        # "_parse" is listed by Eliot, and is private nevertheless.
        yield from (name for name in module.__all__ if not name.startswith("_"))
        return
    for name in dir(module):
        thing = getattr(module, name)
        defined_here = getattr(thing, "__module__", None) == module.__name__
        of_a_kind = inspect.isclass(thing) or inspect.isroutine(thing)
        if not name.startswith("_") and (
            (defined_here and of_a_kind) or _is_constant(name, module)
        ):
            yield name


def _parameters(thing: object) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(thing).parameters  # type: ignore[arg-type]  # asks whether it can
    except (TypeError, ValueError):
        return {}


def _missing_parameters(theirs: object, ours: object) -> set[str]:
    """Return the names of arguments that *theirs* takes and *ours* does not."""
    taken = _parameters(ours)
    if not taken or any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return set()
    return {
        name
        for name, each in _parameters(theirs).items()
        if each.kind not in VARIABLE and name not in taken
    }


def _annotated(kind: type) -> set[str]:
    return {name for base in kind.__mro__ for name in vars(base).get("__annotations__", ())}


def _missing_in_class(name: str, theirs: type, ours: type) -> Iterator[str]:
    for member in dir(theirs):
        if member.startswith("_"):
            continue
        if not hasattr(ours, member):
            if member not in _annotated(ours):
                yield f"{name}.{member}"
            continue
        for parameter in _missing_parameters(getattr(theirs, member), getattr(ours, member)):
            yield f"{name}.{member}.{parameter}"


def _missing(module: ModuleType, here: ModuleType) -> Iterator[str]:
    """Yield what *module* has and *here* has not, members and arguments included."""
    for name in _public(module):
        full = f"{module.__name__}.{name}"
        theirs = getattr(module, name)
        ours = getattr(here, name, None)
        if ours is None:
            if theirs is not None:
                yield full
            continue
        for parameter in _missing_parameters(theirs, ours):
            yield f"{full}.{parameter}"
        if inspect.isclass(theirs) and inspect.isclass(ours):
            yield from _missing_in_class(full, theirs, ours)


@pytest.mark.parametrize("name", MODULES)
def test_a_name_of_theirs_is_ours_or_its_absence_is_told(name: str):
    """Modules, names, members of classes and names of arguments."""
    try:
        theirs = importlib.import_module(name)
    except ImportError:
        assert _is_left_out(name)
        return
    if importlib.util.find_spec(f"sprockets.{name}") is None:
        assert _is_left_out(name)
        return
    ours = importlib.import_module(f"sprockets.{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        missing = {found for found in _missing(theirs, ours) if not _is_left_out(found)}

    assert missing == set()


def _exists(name: str) -> bool:
    """Return whether there is a module, a name in a module, or a member of a class of that name."""
    module, thing = "sprockets", importlib.import_module("sprockets")
    for part in name.split(".")[1:]:
        module = f"{module}.{part}"
        is_package = hasattr(thing, "__path__")
        if is_package and importlib.util.find_spec(module) is not None:
            thing = importlib.import_module(module)
        elif hasattr(thing, part):
            thing = getattr(thing, part)
        else:
            return False
    return True


@pytest.mark.parametrize("peer", PEERS)
def test_what_is_told_to_be_absent_is(peer: str):
    """A name that came since, or that nobody ever had, is no reason to stay away."""
    told = sorted(name for name in _left_out(peer) if name.startswith(f"{peer}."))

    assert [name for name in told if _exists(f"sprockets.{name}")] == []


@pytest.mark.skipif("logbook" not in PEERS, reason="needs Logbook")
@pytest.mark.parametrize("alias", ["DatabaseHandler", "FingersCrossedHandler"])
def test_an_old_alias_is_there_too(alias: str):
    """Names that Logbook finds only when it is asked for them."""
    ours = importlib.import_module("sprockets.logbook.more")

    with pytest.warns(DeprecationWarning):
        theirs = getattr(importlib.import_module("logbook.more"), alias)
    with pytest.warns(DeprecationWarning):
        found = getattr(ours, alias)

    assert found.__name__ == theirs.__name__
