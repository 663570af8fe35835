"""How pages look: templates, files that go with them, and the base of what answers with pages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from tornado import escape, template

from sprockets.http.mixins import Problem
from sprockets.tickets._base import TicketsHandler
from sprockets.tickets._pages_icons import icon
from sprockets.tickets._sparklines import short_count
from sprockets.tickets._views import with_arguments

THEME_COOKIE: Final = "tickets_theme"
THEMES: Final = ("light", "dark")

_HERE: Final = Path(__file__).parent
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOREVER: Final = "public, max-age=31536000, immutable"

KEY_HELP: Final = (
    (("j", "k"), "Next, previous row"),
    (("o",), "Open the row"),
    (("x",), "Select the row"),
    (("s",), "Solve the ticket, or those selected"),
    (("i",), "Ignore the ticket, or those selected"),
    (("a",), "Assign the ticket"),
    (("c",), "Comment on the ticket"),
    (("/",), "Search"),
    (("n", "p"), "Next, previous page"),
    (("u",), "Up: back to the list, or to the ticket"),
    (("?",), "These keys"),
)
"""What single keys do."""


# -- files that go with pages


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that goes with pages; its content and its name in URLs change together."""

    body: bytes
    content_type: str
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """Return the files by name; they are read once."""
    found = {}
    for path in sorted((_HERE / "static").iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            digest = hashlib.sha256(body).hexdigest()[:16]
            found[path.name] = Asset(body, _TYPES[path.suffix], digest)
    return found


class AssetHandler(TicketsHandler):
    """Hands out the files; there is nothing in them that not everybody may know."""

    needs_user: ClassVar[bool] = False
    needs_scope: ClassVar[bool] = False

    def get(self, digest: str, name: str) -> None:
        """Send a file, to be kept for good: another content has another URL."""
        asset = assets().get(name)
        if asset is None or asset.digest != digest:
            raise Problem(404, detail="There is no such file")
        self.set_header("Cache-Control", _FOREVER)
        self.set_header("Content-Type", asset.content_type)
        self.finish(asset.body)

    async def prepare(self) -> None:
        """Look neither at who asks nor at what is stored."""
        self._check_place()


# -- templates


def _utf8(value: str | bytes) -> bytes:
    # What cannot be written as UTF-8, half of a surrogate pair from a file's name, is shown as what
    # it is, rather than the page not at all.
    return value if isinstance(value, bytes) else value.encode("utf-8", "backslashreplace")


@cache
def templates() -> template.Loader:
    """Return the templates; they are compiled once."""
    return template.Loader(
        str(_HERE / "templates"),
        autoescape="xhtml_escape",
        whitespace="single",
        namespace={
            # Under the name by which compiled templates call it.
            "_tt_utf8": _utf8,
            "icon": icon,
            "key_help": KEY_HELP,
            "short_count": short_count,
            "with_arguments": with_arguments,
        },
    )


@dataclass(slots=True)
class Frame:
    """What all pages have around their content.

    Args:
        base: Path of the frontend, without a slash at its end.
        title: Of the page.
        section: Which part of the frontend it belongs to.
        here: Path and query of the page.
        actor: Who looks at it.
        may_write: Whether tickets may be changed.
        may_log_out: Whether there is a session to end.
        theme: ``light`` or ``dark``; empty for that of the system.
        xsrf: A form's hidden field.
        notice: What was done just before.
    """

    base: str
    title: str
    section: str = ""
    here: str = ""
    actor: str = ""
    may_write: bool = False
    may_log_out: bool = False
    theme: str = ""
    xsrf: str = ""
    notice: str = ""
    navigation: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.navigation = [
            ("Tickets", f"{self.base}/", "tickets"),
            ("Requests", f"{self.base}/requests", "requests"),
        ]

    def asset(self, name: str) -> str:
        """Return the URL of a file that goes with pages."""
        return f"{self.base}/static/{assets()[name].digest}/{name}"


def render(name: str, frame: Frame, **values: Any) -> bytes:
    """Return a page.

    Args:
        name: Of its template.
        frame: What it has around its content.
        values: What the template shows.
    """
    page: bytes = templates().load(name).generate(page=frame, **values)
    return page


# -- the base of all that answer with a page

_NOTICES: Final = {
    "solve": ("The ticket is solved", "{} tickets are solved"),
    "reopen": ("The ticket is open again", "{} tickets are open again"),
    "ignore": ("The ticket is ignored", "{} tickets are ignored"),
    "assign": ("The ticket is assigned", "{} tickets are assigned"),
    "unassign": ("The ticket is nobody's", "{} tickets are nobody's"),
    "comment": ("The comment was added", ""),
    "merge": ("The tickets are one", "The tickets are one"),
    "merged": ("That ticket was merged into this one", ""),
    "split": ("These occurrences are a ticket of their own", ""),
    "delete": ("The ticket was deleted", "{} tickets were deleted"),
    "none": ("No ticket was selected", ""),
    "gone": ("There was no such ticket any longer", ""),
}
_HINTS: Final = {
    403: "If a page was open for long, go back and load it again.",
    503: "Nothing is lost: services keep their records until the store answers.",
}


def person_of(handler: TicketsHandler) -> str:
    """Return who "me" is; empty if everybody is let in."""
    identity = handler.identity
    return "" if identity is None or identity.kind == "anonymous" else identity.name


class PageHandler(TicketsHandler):
    """Answers with pages; errors too, if a browser asks."""

    section: ClassVar[str] = "tickets"

    def set_default_headers(self) -> None:
        """Have browsers say that a form was on a page of ours, and nothing to anybody else."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "same-origin")

    def make_frame(self, title: str, *, notice: str = "") -> Frame:
        """Return what is around the content of a page."""
        theme = self.get_cookie(THEME_COOKIE) or ""
        identity = self.identity
        return Frame(
            self.base_path,
            title,
            self.section,
            self.request.uri or "/",
            person_of(self),
            self.may_write,
            identity is not None and identity.kind == "session",
            theme if theme in THEMES else "",
            xsrf_field(self.xsrf_token),
            notice,
        )

    def send_page(self, name: str, title: str, **values: Any) -> None:
        """Answer with a page.

        Args:
            name: Of its template.
            title: Of the page.
            values: What the template shows.
        """
        frame = self.make_frame(title, notice=self._notice())
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(render(name, frame, **values))

    def _notice(self) -> str:
        """Return what the URL says was done; the texts are ours, whatever it says."""
        one, many = _NOTICES.get(self.get_query_argument("done", ""), ("", ""))
        number = self.get_query_argument("n", "1")
        count = int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else 1
        return many.format(f"{count:,}") if many and count != 1 else one

    def go(self, url: str, done: str = "", count: int = 1) -> None:
        """Send the browser on, after a form was posted.

        Args:
            url: Of a page of ours.
            done: What that page says was done; see the notices.
            count: To how many tickets.
        """
        if done:
            path, _, query = url.partition("?")
            kept = [
                each
                for each in query.split("&")
                if each and each.partition("=")[0] not in ("done", "n")
            ]
            more = [f"done={done}", *([f"n={count}"] if count != 1 else [])]
            url = f"{path}?{'&'.join([*kept, *more])}"
        self.redirect(url, status=303)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer a browser with a page; everybody else with an error document."""
        if "text/html" not in self.request.headers.get("Accept", ""):
            super().write_error(status_code, **kwargs)
            return
        # The document first: it has the headers that belong to the error, and its text.
        super().write_error(status_code, **kwargs)
        document = b"".join(self._write_buffer)
        self._write_buffer.clear()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(self._error_page(status_code, document))

    def _error_page(self, status_code: int, document: bytes) -> bytes:
        try:
            facts = escape.json_decode(document)
        except ValueError:
            facts = {}
        reason = self._reason
        message = str(facts.get("message") or facts.get("detail") or reason)
        login = ""
        if status_code in (401, 403) and self.identity is None and self.site.has_login:
            login = self.make_url(f"/login?next={quote(self.request.uri or '/', safe='')}")
        frame = self.make_frame(reason)
        return render(
            "error.html",
            frame,
            status_code=status_code,
            message="" if message == reason else message.removeprefix(f"HTTP {status_code}: "),
            hint=_HINTS.get(status_code, ""),
            request_id=facts.get("request_id") or self._headers.get("X-Request-Id", ""),
            login=login,
        )


def xsrf_field(token: bytes) -> str:
    """Return the hidden field that tells a form of ours from others."""
    value = escape.xhtml_escape(token.decode("ascii"))
    return f'<input type="hidden" name="_xsrf" value="{value}">'


class ThemeHandler(PageHandler):
    """Keeps which colours somebody likes."""

    needs_user: ClassVar[bool] = False
    needs_scope: ClassVar[bool] = False

    def post(self) -> None:
        """Keep it in a cookie, and go back."""
        theme = self.get_body_argument("theme", "")
        self.set_own_cookie(
            THEME_COOKIE, theme if theme in THEMES else "", 365 * 86_400 if theme in THEMES else 0
        )
        self.go(self.check_next(self.get_body_argument("next", "")))


class NotFoundHandler(PageHandler):
    """Says that there is no such page."""

    def get(self) -> None:
        """Say it."""
        raise Problem(404, detail="There is no such page")


def routes() -> list[tuple[str, type[TicketsHandler]]]:
    """Return the routes of what goes with pages."""
    return [
        (r"/static/([0-9a-f]{16})/([a-z.]+)", AssetHandler),
        (r"/theme", ThemeHandler),
    ]
