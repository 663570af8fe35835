"""GitLab, on its own site or on yours."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from sprockets.logbook import _caller
from sprockets.logbook.ticketing._trackers._base import Issue, Tracker
from sprockets.logbook.ticketing._trackers._calls import Caller
from sprockets.logbook.ticketing._trackers._marks import choose
from sprockets.logbook.ticketing._trackers._text import Markdown, Text

_caller.register(__file__)

MAX_TITLE: Final = 255
"""Characters of a title."""
MAX_TEXT: Final = 262_144
"""Characters of an issue or a note that we send; GitLab takes a million."""


class GitLabTracker(Tracker):
    """Files issues in a project of GitLab.

    An issue is found again by its label, ``lb::`` and eight digits, or by the marker in its text.

    Args:
        project: Its number, or its path: ``group/name``.
        token: Of somebody, or of the project, with the scope ``api``.
        url: Of the GitLab.
        bearer: Send the token as one of OAuth, not as a private one.
        labels: Further labels of each issue.
        assignee_ids: Numbers of the users whose each issue is.
        confidential: Whether only members see the issues.
        issue_type: What they are, ``"issue"`` or ``"incident"``.
        name: Names the tracker in the store of tickets; ``gitlab:group/name`` unless given.
        timeout: Seconds for a whole request.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        now: Returns the time in seconds since 1970, for limits that end at a moment.

    Raises:
        ValueError: *url* is no address, or a label has a comma in it.

    Source: docs.gitlab.com, "Issues API", "Notes API".
    """

    def __init__(
        self,
        project: str | int,
        token: str,
        *,
        url: str = "https://gitlab.com",
        bearer: bool = False,
        labels: Iterable[str] = (),
        assignee_ids: Iterable[int] = (),
        confidential: bool = False,
        issue_type: Literal["issue", "incident"] = "issue",
        name: str | None = None,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        super().__init__(name or f"gitlab:{project}")
        self.project: str = str(project)
        self.labels: tuple[str, ...] = tuple(labels)
        for label in self.labels:
            if "," in label:
                raise ValueError(f"a label has no comma in it: {label!r}")
        self.assignee_ids: tuple[int, ...] = tuple(assignee_ids)
        self.confidential: bool = confidential
        self.issue_type: str = issue_type
        self._caller = Caller(
            url,
            {"Authorization": f"Bearer {token}"} if bearer else {"PRIVATE-TOKEN": token},
            timeout=timeout,
            ssl_context=ssl_context,
        )
        self._path = f"/api/v4/projects/{quote(self.project, safe='')}"
        self._now = now
        self._markup = Markdown()

    def _call(self, method: str, path: str, value: object = None, kind: type = dict) -> Any:
        return self._caller.call_json(method, self._path + path, value, kind=kind, now=self._now)

    # -- what all trackers do

    def find(self, marker: str) -> Issue | None:
        """Return the oldest issue with the label of *marker*; else one that has it in its text."""
        for query in (
            {"labels": _label_of(marker), "state": "all", "per_page": 50},
            # Guests may make issues, but their labels are dropped.
            {"search": marker, "in": "description", "state": "all", "per_page": 50},
        ):
            listed = self._call("GET", f"/issues?{urlencode(query)}", kind=list)
            found = choose(
                marker,
                listed or (),
                number="iid",
                text="description",
                is_labelled="labels" in query,
            )
            if found is not None:
                return self._issue(found)
        return None

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Make an issue with the label of *marker*."""
        value: dict[str, Any] = {
            "title": self._markup.title(title, MAX_TITLE),
            "description": self._markup.render(text, MAX_TEXT),
            "labels": ",".join([_label_of(marker), *self.labels]),
            "issue_type": self.issue_type,
        }
        if self.assignee_ids:
            value["assignee_ids"] = list(self.assignee_ids)
        if self.confidential:
            value["confidential"] = True
        return self._issue(self._call("POST", "/issues", value))

    def comment(self, issue_id: str, text: Text) -> None:
        """Add a note."""
        body = {"body": self._markup.render(text, MAX_TEXT)}
        self._call("POST", f"/issues/{int(issue_id)}/notes", body)

    def reopen(self, issue_id: str, text: Text) -> None:
        """Open the issue, then say why."""
        self._call("PUT", f"/issues/{int(issue_id)}", {"state_event": "reopen"})
        self.comment(issue_id, text)

    def close(self, issue_id: str, text: Text) -> None:
        """Close the issue, then say why."""
        self._call("PUT", f"/issues/{int(issue_id)}", {"state_event": "close"})
        self.comment(issue_id, text)

    def url(self, issue_id: str) -> str:
        """Return where people see an issue."""
        if self.project.isdigit():
            # By the number of a project there is no other way for people.
            return f"{self._caller.url}{self._path}/issues/{issue_id}"
        return f"{self._caller.url}/{quote(self.project)}/-/issues/{issue_id}"

    def disconnect(self) -> None:
        """Close the connection."""
        self._caller.close()

    def _issue(self, found: Mapping[str, Any]) -> Issue:
        number = str(int(found["iid"]))
        return Issue(
            number, str(found.get("web_url") or self.url(number)), found.get("state") != "closed"
        )


def _label_of(marker: str) -> str:
    return f"lb::{marker[3:11]}"
