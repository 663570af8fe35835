"""Marks: which issue is which ticket's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_MARKER: Final = re.compile(r"lb:[0-9a-f]{40}")


def label_of(marker: str) -> str:
    """Return the short form of *marker*, for labels and subjects.

    >>> label_of("lb:93748b47ea78e7de6711e1eef92105158996bab8")
    'lb:93748b47'
    """
    return marker[:11]


def choose(
    marker: str,
    issues: Iterable[Mapping[str, Any]],
    *,
    number: str,
    text: str,
    is_labelled: bool = False,
) -> Mapping[str, Any] | None:
    """Return the oldest of *issues* whose text has *marker* in it; ``None`` if none has.

    Of those that have the label of the marker, one may do that has no marker in its text any more:
    people edit texts.

    Args:
        marker: The marker.
        issues: As the tracker lists them.
        number: Member that has the number of an issue.
        text: Member that has its text.
        is_labelled: Whether all of them have the label of the marker.
    """
    ordered = sorted(issues, key=lambda one: int(one[number]))
    exact = [one for one in ordered if marker in str(one.get(text) or "")]
    if exact or not is_labelled:
        return exact[0] if exact else None
    edited = [one for one in ordered if not _MARKER.search(str(one.get(text) or ""))]
    return edited[0] if edited else None
