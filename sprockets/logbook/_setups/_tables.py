"""Tables: what the files say, those they include and those that tables extend put together."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from sprockets.logbook._setups._problems import Place, Problems
from sprockets.logbook._setups._values import Values

Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"

MAPPING: Final = "(mapping)"
"""What stands for the file where there is none."""
SECTIONS: Final = ("setups", "handlers", "processors")

_MERGED: Final = frozenset(("flags", "levels"))
_MAX_DEPTH: Final = 32


@dataclass(frozen=True)
class Value:
    """What a key says, and where."""

    raw: Any
    place: Place


@dataclass
class Table:
    """A table, and the one of the same name in an included file that it stands before."""

    place: Place
    values: dict[str, Value]
    shadowed: Table | None = None


@dataclass
class Document:
    """All tables of a file and of those that it includes, by section and name."""

    file: str
    is_complete: bool = True
    """Whether all the files could be read."""
    sections: dict[str, dict[str, Table]] = field(
        default_factory=lambda: {section: {} for section in SECTIONS}
    )

    def find(self, section: str, name: str, problems: Problems) -> Table | None:
        """Return the table *name*, with what it extends; ``None`` if there is none."""
        table = self.sections[section].get(name)
        return None if table is None else self._extended(section, table, problems, [table])

    def _extended(
        self, section: str, table: Table, problems: Problems, chain: list[Table]
    ) -> Table:
        extends = table.values.get("extends")
        if extends is None:
            return table
        rest = {key: value for key, value in table.values.items() if key != "extends"}
        base = self._base(section, table, extends, problems, chain)
        if base is None:
            return Table(table.place, rest)
        values = dict(self._extended(section, base, problems, [*chain, base]).values)
        for key, value in rest.items():
            below = values.get(key)
            if (
                key in _MERGED
                and below is not None
                and isinstance(below.raw, Mapping)
                and isinstance(value.raw, Mapping)
            ):
                value = Value({**below.raw, **value.raw}, value.place)
            values[key] = value
        return Table(table.place, values)

    def _base(
        self, section: str, table: Table, extends: Value, problems: Problems, chain: list[Table]
    ) -> Table | None:
        tables = self.sections[section]
        name = extends.raw
        if not isinstance(name, str):
            problems.add(extends.place, f"must be the name of one of the {section}, got {name!r}")
            return None
        base = tables.get(name)
        if base is table:
            # The one of the included file, which this one stands before.
            base = table.shadowed
        if base is None:
            problems.add_unknown(extends.place, f"name in {section}", name, tables.keys())
        elif any(base is seen for seen in chain):
            problems.add(extends.place, f"{name!r} extends itself; one of the chain must not")
            return None
        return base


def read(source: Source, values: Values, problems: Problems) -> Document:
    """Return what *source* says: the path of a TOML file, or what such a file would contain."""
    if isinstance(source, Mapping):
        document = Document(MAPPING)
        _add(document, source, Place(MAPPING), values, problems, ())
        return document
    path = os.fspath(source)
    document = Document(path)
    _add_file(document, path, Place(path), values, problems, ())
    return document


def _add_file(
    document: Document,
    file: str,
    asked_at: Place,
    values: Values,
    problems: Problems,
    chain: tuple[Path, ...],
) -> None:
    path = Path(file)
    known = path.resolve()
    if known in chain or len(chain) >= _MAX_DEPTH:
        problems.add(asked_at, f"{file!r} includes itself; one of the files must not")
        document.is_complete = False
        return
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.add(asked_at, f"cannot read {file!r}: {error.strerror or error}")
    except UnicodeDecodeError as error:
        problems.add(Place(file), f"is not UTF-8: {error.reason} at byte {error.start}")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.add(Place(file), f"is not TOML: {error}")
    else:
        _add(document, content, Place(file), values, problems, (*chain, known))
        return
    document.is_complete = False


def _add(
    document: Document,
    content: Mapping[str, Any],
    place: Place,
    values: Values,
    problems: Problems,
    chain: tuple[Path, ...],
) -> None:
    for name in content:
        if name not in (*SECTIONS, "include"):
            problems.add_unknown(place.at(name), "table", name, (*SECTIONS, "include"))
    _include(document, content.get("include", []), place.at("include"), values, problems, chain)
    for section in SECTIONS:
        tables = content.get(section, {})
        if not isinstance(tables, Mapping):
            problems.add(place.at(section), f"must be a table of tables, got {tables!r}")
            continue
        for name, table in tables.items():
            here = Place(place.file, f"{section}.{name}")
            if not isinstance(table, Mapping):
                problems.add(Place(place.file, section, name), f"must be a table, got {table!r}")
                continue
            found = {key: Value(raw, here.at(key)) for key, raw in table.items()}
            known = document.sections[section]
            known[name] = Table(here, found, known.get(name))


def _include(
    document: Document,
    names: Any,
    place: Place,
    values: Values,
    problems: Problems,
    chain: tuple[Path, ...],
) -> None:
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        problems.add(place, f"must be the paths of files, got {names!r}")
        return
    folder = Path() if place.file == MAPPING else Path(place.file).parent
    for name in names:
        text = values.resolve(name, place)
        if text is not None:
            _add_file(document, str(folder / text), place, values, problems, chain)
