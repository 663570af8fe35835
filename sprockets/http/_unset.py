"""What stands for a ``log_config`` that was not given; importing it costs next to nothing."""

from __future__ import annotations

import enum
from collections.abc import Callable

# Importing this package comes before all else, and typing would be a third of what that costs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

    from sprockets.logbook.base import StackedObject


class Unset(enum.Enum):
    """What stands for an argument that was not given, where ``None`` means something."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""No ``log_config`` was given: the built-in set-up is bound."""

LogConfig: TypeAlias = (
    "StackedObject | Callable[[], StackedObject] | dict[str, Any] | str | Unset | None"
)
