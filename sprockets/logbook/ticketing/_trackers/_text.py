"""Text for trackers: what records say is shown, and can do nothing there.

A text has a heading that is ours, and below it a block in which nothing is markup: there stands
whatever came from a record, so that no mention, link, macro, command or reference comes out of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sprockets.logbook._text import cut, escape_block, escape_line
from sprockets.logbook.handlers._plain import SCRUBBED, clean, jsonable, plain
from sprockets.logbook.handlers._sentry_event import EventMaker

_MAX_READ: Final = 400_000  # characters of a text that are looked at
_BREAK: Final = "\u200b"  # no width: it parts what together would be markup

_NAMES = EventMaker()
_NAMES._secret_names = ()

_NAME: Final = re.compile(r"""(?<![\w.-])(?P<name>[\w.-]++)(?:\\?["'])?\s{0,3}[:=]\s{0,3}""")
_VALUE: Final = re.compile(
    r"""(?:(?:Basic|Bearer|Digest|token)\s+)?"""
    r"""(?:\\?"[^"\n]*"?|\\?'[^'\n]*'?|[^\s,;&"')\]}]+)""",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(r"(?<=://)[^\s/@:]{0,100}:[^\s/@]{1,200}(?=@)")


@dataclass(frozen=True, slots=True)
class Text:
    """What an issue or a comment says.

    Args:
        heading: A sentence of ours, in words that are markup nowhere.
        facts: Names and values, the values from anywhere.
        body: From anywhere: the message, and the traceback.
        link: Where people see the ticket; as who set the tracker up wrote it.
        marker: By which the issue is found again; ``""`` leaves it away.
    """

    heading: str
    facts: tuple[tuple[str, str], ...] = ()
    body: str = ""
    link: str = ""
    marker: str = ""


def scrub(text: str) -> str:
    """Return *text* with ``[Filtered]`` for what is named like a secret, and for logins in URLs.

    >>> scrub("no access: password=hunter2 at db://ann:s3cr3t@host")
    'no access: password=[Filtered] at db://[Filtered]@host'
    """
    text = _LOGIN.sub(SCRUBBED, text)
    parts = []
    end = 0
    for match in _NAME.finditer(text):
        # What follows a name may be a name itself: "error: password=..."
        if match.end() <= end or not _NAMES.is_secret(match["name"][-200:]):
            continue
        value = _VALUE.match(text, match.end())
        if value is not None:
            parts += [text[end : match.end()], SCRUBBED]
            end = value.end()
    return "".join([*parts, text[end:]])


def scrubbed_json(value: object) -> str:
    """Return *value* as indented JSON, without members that are named like a secret."""
    known: Any = jsonable(plain(value, is_secret=_NAMES.is_secret, max_text=2_000))
    return json.dumps(known, ensure_ascii=False, indent=2)


def line(text: object, limit: int) -> str:
    """Return *text* as one line without control characters, of *limit* characters at most."""
    return cut(escape_line(scrub(clean(str(text)[: 4 * limit + 100]))), limit)


def block(text: str, marker: str, facts: Iterable[tuple[str, str]], limit: int) -> str:
    """Return what stands in the block, of *limit* characters at most; its first line is ours."""
    pairs = [(name, line(value, 500)) for name, value in facts]
    if marker:
        pairs.append(("Marker", marker))
    width = max((len(name) for name, _ in pairs), default=0)
    head = "\n".join([f"{name:<{width}}  {value}" for name, value in pairs]) or "Text"
    if not text:
        return head[:limit]
    room = max(limit - len(head) - 2, 0)
    # The beginning has the message, the end the last frames: both are worth more than the middle.
    if len(text) > _MAX_READ:
        # Cut at a line, so that no value is parted from the name that makes it a secret.
        rest = text[-_MAX_READ // 2 :].partition("\n")[2]
        text = f"{text[: _MAX_READ // 2]}\n{rest}"
    body = escape_block(scrub(clean(text)))
    if len(body) > room:
        half = max((room - 60) // 2, 0)
        left_out = len(body) - 2 * half
        body = f"{body[:half]}\n … [{left_out} characters cut] …\n{body[len(body) - half :]}"
    return f"{head}\n\n{body[:room]}"


class Markup:
    """How a tracker writes a block of code and a link; a plain one writes both as they are."""

    def code(self, text: str) -> str:
        """Return *text* as a block in which nothing is markup, whatever it says."""
        return text

    def title(self, text: object, limit: int) -> str:
        """Return *text* as the title of an issue."""
        return line(text, limit)

    def render(self, text: Text, limit: int) -> str:
        """Return *text* in this markup, of *limit* characters at most."""
        head = f"{text.heading}\n\n" + (f"{text.link}\n\n" if text.link else "")
        if not (text.facts or text.body or text.marker):
            return head.rstrip()[:limit]
        room = limit - len(head) - 100
        while True:
            code = self.code(block(text.body, text.marker, text.facts, room))
            if len(head) + len(code) <= limit or room <= 0:
                return head + code
            # What parts markup takes room itself.
            room -= max(len(head) + len(code) - limit, 1)


class Markdown(Markup):
    """GitHub's and GitLab's."""

    def code(self, text: str) -> str:
        """Return a fenced block; the fence is longer than any row of backticks in *text*."""
        longest = max((len(row) for row in re.findall("`+", text)), default=0)
        fence = "`" * max(longest + 1, 3)
        return f"{fence}text\n{text}\n{fence}"

    def title(self, text: object, limit: int) -> str:
        """Return *text* with its references and mentions parted: titles are markup at some."""
        parted = re.sub(r"([@#!~%$&^])(?=\w)", rf"\1{_BREAK}", line(text, limit))
        return parted.replace("`", "'")[:limit]


class Textile(Markup):
    """Redmine's."""

    def code(self, text: str) -> str:
        """Return a ``<pre>``, with tags in *text* that would end it parted."""
        parted = re.sub(r"(?i)<(?=/?\s*(?:pre|code|notextile))", f"<{_BREAK}", text)
        return f"<pre>\n{parted}\n</pre>"


class RedmineMarkdown(Markdown):
    """Redmine's, which looks for mentions between any three backticks or tildes."""

    def code(self, text: str) -> str:
        """Return a fenced block, with rows that could be fences parted in *text*."""
        return super().code(re.sub(r"(``|~~)(?=[`~])|(@)(?=\w)", rf"\g<0>{_BREAK}", text))


class TracWiki(Markup):
    """Trac's."""

    def code(self, text: str) -> str:
        """Return a block of code; its first line is ours, since it could name a processor."""
        parted = re.sub(r"([{}])(?=\1)", rf"\1{_BREAK}", text)
        return f"{{{{{{\n{parted}\n}}}}}}"
