"""The page where people log in with a token, and the way out."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from urllib.parse import quote

from sprockets.tickets._base import TicketsHandler
from sprockets.tickets._pages_look import PageHandler, render
from sprockets.tickets._tokens import digest_of

_MAX_TOKEN: Final = 200


class LoginPage(PageHandler):
    """Base of those who let people in; browsers are told of errors on the page to log in at."""

    needs_user: ClassVar[bool] = False

    def make_page(self, target: str, problem: str = "", request_id: str = "") -> bytes:
        """Return the page.

        Args:
            target: Path that people come to when they are let in.
            problem: Why they are not.
            request_id: Under which there is more of that in the log.
        """
        user = self.site.user
        query = quote(target, safe="")
        has_provider = user is not None and user.has_login
        return render(
            "login.html",
            self.make_frame("Log in"),
            action=self.make_url(f"/login?next={query}"),
            openid=self.make_url(f"/login/openid?next={query}") if has_provider else "",
            problem=problem,
            request_id=request_id,
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer a browser with the page; everybody else with an error document."""
        super().write_error(status_code, **kwargs)
        if "text/html" not in self.request.headers.get("Accept", ""):
            return
        text = self.get_error_message(status_code, **kwargs)
        request_id = self._headers.get("X-Request-Id", "")
        target = self.check_next(self.get_query_argument("next", ""))
        self._write_buffer.clear()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(self.make_page(target, text.removeprefix(f"HTTP {status_code}: "), request_id))


class LoginHandler(LoginPage):
    """Lets people in who have a token, or sends them to where they log in."""

    async def get(self) -> None:
        """Show the page, unless there is somewhere else to go."""
        target = self.check_next(self.get_query_argument("next", ""))
        if self.identity is not None:
            self.redirect(target, status=303)
            return
        user = self.site.user
        if user is not None and user.has_login and not self.get_query_argument("token", ""):
            url = self.make_url(f"/login/openid?next={quote(target, safe='')}")
            self.redirect(url, status=303)
            return
        self.finish(self.make_page(target))

    async def post(self) -> None:
        """Begin a session with a token."""
        target = self.check_next(self.get_query_argument("next", ""))
        text = self.get_body_argument("token", "").strip()
        found = await self.identify_token(text) if 0 < len(text) <= _MAX_TOKEN else None
        if found is None:
            self.logger.warning("login refused: an unknown token, from %s", self.request.remote_ip)
            self.set_status(403)
            self.finish(self.make_page(target, "That token is not known here."))
            return
        self.logger.info("%s logged in with a token", found.name)
        self.begin_session(digest=digest_of(text))
        self.redirect(target, status=303)


class LogoutHandler(TicketsHandler):
    """Ends a session."""

    needs_scope: ClassVar[bool] = False

    async def post(self) -> None:
        """Have the browser forget the session."""
        self.end_session()
        self.redirect(self.make_url("/login?token=1"), status=303)


def routes() -> list[tuple[str, type[TicketsHandler]]]:
    """Return the routes of this room."""
    return [("/login", LoginHandler), ("/logout", LogoutHandler)]
