"""Classes: what a word or dotted path in a file stands for, imported when it is first used."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, TypeVar

from sprockets.logbook._processor import Processor
from sprockets.logbook._setups._problems import Place, Problems
from sprockets.logbook.handlers import Handler

T = TypeVar("T")

_ROOMS: Final = (
    "sprockets.logbook.handlers",
    "sprockets.logbook.queues",
    "sprockets.logbook.ticketing",
    "sprockets.logbook.more",
    "sprockets.logbook.notifiers",
)
"""Public modules whose handlers have short names: those in ``__all__`` that end in ``Handler``."""
_BASES: Final = frozenset(
    (
        "Handler",
        "NotificationBaseHandler",
        "RemoteHandler",
        "TicketingBaseHandler",
        "WrapperHandler",
    )
)
_PROCESSORS: Final = {
    "fields": "sprockets.logbook.base.Fields",
    "actions": "sprockets.eliot.logbook.ActionProcessor",
}
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SAID_AS: Final = {"g_mail": "gmail", "mac_os_notification": "macos_notification"}


@cache
def handler_names() -> dict[str, str]:
    """Return the short names of the public handlers, and the dotted paths of their classes."""
    found = {}
    for room in _ROOMS:
        for name in import_module(room).__all__:
            if name.endswith("Handler") and name not in _BASES:
                found[_short(name)] = f"{room}.{name}"
    return found


def _short(name: str) -> str:
    words = _WORDS.sub("_", name.removesuffix("Handler")).lower()
    words = words.removesuffix("_wrapper").removesuffix("_compression")
    return _SAID_AS.get(words, words)


def find_handler(name: object, place: Place, problems: Problems) -> type[Handler] | None:
    """Return the handler class *name*: a short name, a public class, or a dotted path."""
    return _find(name, place, problems, Handler, "handler", handler_names())


def find_processor(name: object, place: Place, problems: Problems) -> type[Processor] | None:
    """Return the processor class *name*: a short name or a dotted path."""
    return _find(name, place, problems, Processor, "processor", _PROCESSORS)


def _find(
    name: object, place: Place, problems: Problems, base: type[T], what: str, known: dict[str, str]
) -> type[T] | None:
    if not isinstance(name, str):
        problems.add(
            place, f"must be the name of a {what} or the dotted path of a class, got {name!r}"
        )
        return None
    by_class = {path.rpartition(".")[2]: path for path in known.values()}
    path = known.get(name.lower().replace("-", "_")) or by_class.get(name, name)
    if "." not in path and ":" not in path:
        problems.add_unknown(place, what, name, known)
        return None
    found = _import(path.replace(":", "."), place, problems)
    if found is None:
        return None
    if not isinstance(found, type) or not issubclass(found, base):
        # Nothing else is ever called, whatever a file names.
        problems.add(
            place, f"must be a class derived from {base.__name__}, {name!r} is {_describe(found)}"
        )
        return None
    return found


def _describe(found: object) -> str:
    if isinstance(found, ModuleType):
        return "a module"
    return f"the class {found.__name__}" if isinstance(found, type) else "no class"


def _import(path: str, place: Place, problems: Problems) -> Any:
    module_name, _, class_name = path.rpartition(".")
    try:
        if not all(part.isidentifier() for part in path.split(".")):
            raise ModuleNotFoundError(f"{path!r} is no dotted path")
        module = import_module(module_name)
    except Exception as error:  # noqa: BLE001 - a module may fail in any way; all ways are told
        problems.add(place, f"cannot import {module_name!r}: {type(error).__name__}: {error}")
        return None
    try:
        return getattr(module, class_name)
    except AttributeError:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        problems.add_unknown(place, f"class in {module_name}", class_name, classes)
    except Exception as error:  # noqa: BLE001 - it may be imported only now
        problems.add(place, f"cannot import {path!r}: {type(error).__name__}: {error}")
    return None
