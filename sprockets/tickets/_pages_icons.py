"""Icons: small drawings in the colour of the text around them, each beside a word that says it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_CHECK: Final = '<path d="m3.2 8.6 3 3 6.6-7"/>'
_CROSS: Final = '<path d="m4 4 8 8m0-8-8 8"/>'
_PERSON: Final = (
    '<circle cx="8" cy="5.2" r="2.7"/><path d="M2.8 13.6c.7-2.7 2.7-4 5.2-4s4.5 1.3 5.2 4"/>'
)
_AGAIN: Final = '<path d="M3 8a5 5 0 1 0 1.6-3.7L3 5.8"/><path d="M3 2.6v3.2h3.2"/>'
_BACK: Final = '<path d="M13 8H3.4m3.8-3.8L3.4 8l3.8 3.8"/>'
_MERGE: Final = '<path d="M4 2.5v3.2c0 3 4 3 4 6v1.8M12 2.5v3.2c0 3-4 3-4 6"/>'
_SPLIT: Final = '<path d="M8 2.5v3c0 3-4 3-4 6v2M8 5.5c0 3 4 3 4 6v2"/>'
_COMMENT: Final = '<path d="M2.5 3.5h11v7.4H7.2L4.3 13.4v-2.5H2.5z"/>'
_MUTED: Final = '<circle cx="8" cy="8" r="5.6"/><path d="m4.1 4.1 7.8 7.8"/>'
_DOT: Final = '<circle cx="8" cy="8" r="3.4" fill="currentColor"/>'
_DONE: Final = '<circle cx="8" cy="8" r="6"/><path d="m5.2 8.2 2 2 3.6-4.2"/>'
_FILED: Final = '<path d="M6.5 3H3v10h10V9.5M9 3h4v4m0-4L7.5 8.5"/>'

_SHAPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "brand": (
            '<path d="M1.8 4.5h12.4v2.1a1.5 1.5 0 0 0 0 2.8v2.1H1.8V9.4a1.5 1.5 0 0 0 0-2.8z"/>'
            '<path d="M9.8 5.2v5.6" stroke-dasharray="1.1 1.5"/>'
        ),
        "new": _DOT,
        "assigned": _PERSON,
        "solved": _DONE,
        "ignored": _MUTED,
        "regressed": _AGAIN,
        "reopen": _AGAIN,
        "person": _PERSON,
        "merge": _MERGE,
        "split": _SPLIT,
        "delete": '<path d="M3 4.5h10M6.3 4.3V2.6h3.4v1.7M4.3 4.5l.6 8.9h6.2l.6-8.9"/>',
        "check": _CHECK,
        "close": _CROSS,
        "search": '<circle cx="7" cy="7" r="4.3"/><path d="m10.2 10.2 3.4 3.4"/>',
        "release": '<path d="M2.6 2.6h5l6 6-5 5-6-6z"/><circle cx="5.4" cy="5.4" r=".7"/>',
        "back": _BACK,
        "forth": '<path d="M3 8h9.6M8.8 4.2 12.6 8l-3.8 3.8"/>',
        "copy": '<path d="M5.5 5.5h8v8h-8z"/><path d="M10.5 5.5v-3h-8v8h3"/>',
        "calm": (
            '<circle cx="8" cy="8" r="6"/>'
            '<path d="M5.3 9.6c1.5 1.7 3.9 1.7 5.4 0M6 6.4v.4m4-.4v.4"/>'
        ),
        "sort-none": '<path d="m5.5 6.3 2.5-2.6 2.5 2.6M5.5 9.7 8 12.3l2.5-2.6" opacity=".45"/>',
        "sort-ascending": '<path d="M8 12.5v-9M4.5 6.8 8 3.3l3.5 3.5"/>',
        "sort-descending": '<path d="M8 3.5v9M4.5 9.2 8 12.7l3.5-3.5"/>',
        "theme-light": (
            '<circle cx="8" cy="8" r="2.9"/><path d="M8 1.6v1.2m0 10.4v1.2M1.6 8h1.2m10.4 0h1.2'
            'M3.5 3.5l.8.8m7.4 7.4.8.8m0-9-.8.8m-7.4 7.4-.8.8"/>'
        ),
        "theme-dark": '<path d="M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8z"/>',
        "theme-auto": (
            '<circle cx="8" cy="8" r="5.6"/>'
            '<path d="M8 2.4v11.2a5.6 5.6 0 0 0 0-11.2z" fill="currentColor"/>'
        ),
        "action-succeeded": _CHECK,
        "action-failed": _CROSS,
        "action-started": '<circle cx="8" cy="8" r="4.5" stroke-dasharray="2.2 2.2"/>',
        "action-none": '<circle cx="8" cy="8" r="1.4" fill="currentColor"/>',
        "history-created": _DOT,
        "history-regressed": _AGAIN,
        "history-woken": _AGAIN,
        "history-reopened": _AGAIN,
        "history-solved": _DONE,
        "history-ignored": _MUTED,
        "history-assigned": _PERSON,
        "history-commented": _COMMENT,
        "history-merged": _MERGE,
        "history-split": _SPLIT,
        "history-filed": _FILED,
        "history-refused": '<path d="M8 2.6 14 13H2z"/><path d="M8 6.8v2.8m0 1.7v.1"/>',
    }
)


def icon(name: str) -> str:
    """Return an icon as inline SVG, hidden from those who hear pages; an unknown one is a dot."""
    shape = _SHAPES.get(name, _SHAPES["action-none"])
    return (
        f'<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">{shape}</svg>'
    )
