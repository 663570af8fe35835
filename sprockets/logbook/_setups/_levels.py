"""Levels: from which on a channel's records are wanted, and what else a filter lets through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sprockets.logbook._levels import LEVEL_NAMES, NOTSET, lookup_level
from sprockets.logbook._setups._problems import Place, Problems
from sprockets.logbook.handlers import Filter, Handler
from sprockets.logbook.record import LogRecord

_MAX_CHANNELS: Final = 1_000
_FILTER_KEYS: Final = frozenset(("channels", "except_channels", "max_level", "min_level"))


def read_level(value: object, place: Place, problems: Problems) -> int:
    """Return the number of the level *value*, a name in upper or lower case or a number."""
    if isinstance(value, str):
        if value.isdecimal():
            return int(value)
        try:
            return lookup_level(value.upper())
        except LookupError:
            problems.add_unknown(place, "level", value, map(str.lower, LEVEL_NAMES.values()))
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    else:
        problems.add(place, f"must be the name of a level or a number, got {value!r}")
    return NOTSET


class ChannelLevels:
    """The least level of each channel.

    What is said of ``"shop"`` goes for ``"shop.orders"`` as well, unless more is said of that.

    Args:
        default: That of channels nothing is said of.
        levels: Those of some channels.
    """

    def __init__(self, default: int = NOTSET, levels: Mapping[str, int] | None = None) -> None:
        self.default = default
        self.levels: Mapping[str, int] = levels or {}
        self._found: dict[str | None, int] = {}

    @property
    def least(self) -> int:
        """The least of all these levels."""
        return min((self.default, *self.levels.values()))

    def of(self, channel: str | None) -> int:
        """Return the least level of *channel*."""
        try:
            return self._found[channel]
        except KeyError:
            level = self.default
            for prefix in _prefixes(channel):
                if prefix in self.levels:
                    level = self.levels[prefix]
                    break
            if len(self._found) >= _MAX_CHANNELS:
                # Somebody makes up channels as they go: memory is worth more than time.
                self._found.clear()
            self._found[channel] = level
            return level

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChannelLevels):
            return NotImplemented
        return self.default == other.default and self.levels == other.levels

    __hash__ = None  # type: ignore[assignment]  # compared only


def _prefixes(channel: str | None) -> Iterable[str]:
    while channel:
        yield channel
        channel = channel.rpartition(".")[0]


class RecordFilter:
    """Lets records through by channel and level; a filter of handlers.

    Args:
        channels: Channels whose records pass, those below them included; ``None`` means all.
        except_channels: Channels of these whose records do not.
        min_level: Least level that passes.
        max_level: Highest level that passes; ``None`` means all.
    """

    def __init__(
        self,
        channels: Iterable[str] | None = None,
        except_channels: Iterable[str] = (),
        min_level: int = NOTSET,
        max_level: int | None = None,
    ) -> None:
        self.channels = None if channels is None else frozenset(channels)
        self.except_channels = frozenset(except_channels)
        self.min_level = min_level
        self.max_level = max_level

    def __call__(self, record: LogRecord, handler: Handler) -> bool:
        """Return whether *record* passes."""
        level = record.level
        if level < self.min_level or (self.max_level is not None and level > self.max_level):
            return False
        if self.channels is None and not self.except_channels:
            return True
        for prefix in _prefixes(record.channel):
            # The longest name that is known decides.
            if prefix in self.except_channels:
                return False
            if self.channels is not None and prefix in self.channels:
                return True
        return self.channels is None


class GatedFilter:
    """Lets through what reaches the level of its channel, and what another filter lets through.

    Args:
        levels: The least levels.
        rest: The other filter.
    """

    def __init__(self, levels: ChannelLevels, rest: Filter | None) -> None:
        self._of = levels.of
        self._rest = rest

    def __call__(self, record: LogRecord, handler: Handler) -> object:
        """Return whether *record* passes."""
        if record.level < self._of(record.channel):
            return False
        return self._rest is None or self._rest(record, handler)


def read_filter(table: object, place: Place, problems: Problems) -> RecordFilter | None:
    """Return the filter that the *table* at *place* describes."""
    if not isinstance(table, Mapping):
        problems.add(place, f"must be a table of {', '.join(sorted(_FILTER_KEYS))}, got {table!r}")
        return None
    options: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _FILTER_KEYS:
            problems.add_unknown(place.at(key), "key", key, _FILTER_KEYS)
        elif key.endswith("level"):
            options[key] = read_level(value, place.at(key), problems)
        elif isinstance(value, tuple) and all(isinstance(name, str) for name in value):
            options[key] = value
        else:
            problems.add(place.at(key), f"must be an array of channels, got {value!r}")
    return RecordFilter(**options)
