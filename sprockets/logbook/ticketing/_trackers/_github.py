"""GitHub, on its own site or on yours; and Gitea and Forgejo, which speak nearly the same."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

from sprockets.logbook import _caller
from sprockets.logbook.ticketing._trackers._base import Issue, Tracker
from sprockets.logbook.ticketing._trackers._calls import Caller
from sprockets.logbook.ticketing._trackers._marks import choose, label_of
from sprockets.logbook.ticketing._trackers._text import Markdown, Text

_caller.register(__file__)

MAX_BODY: Final = 65_536
"""Characters of an issue or a comment."""
MAX_TITLE: Final = 256
"""Characters of a title."""

_RECENT: Final = 50


class GitHubTracker(Tracker):
    """Files issues in a repository of GitHub, GitHub Enterprise, Gitea or Forgejo.

    An issue is found again by a label, ``lb:`` and eight digits, and by the marker in its text.
    Without the right to push, GitHub drops labels without a word: then it is found by the marker,
    among the newest fifty.

    Args:
        repository: ``owner/name``.
        token: Of somebody, or of an app, who may read and write issues.
        url: Of the interface for programs: ``https://host/api/v3`` for GitHub Enterprise,
            ``https://host/api/v1`` for Gitea and Forgejo.
        flavor: Who is asked.
        labels: Further labels of each issue.  Not with ``"gitea"``, which wants numbers.
        assignees: Whose each issue is.
        milestone: Number of the milestone of each issue.
        name: Names the tracker in the store of tickets; ``github:owner/name`` unless given.
        timeout: Seconds for a whole request.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        now: Returns the time in seconds since 1970, for limits that end at a moment.

    Raises:
        ValueError: *repository* is not of that form, or *url* is no address.

    Source: docs.github.com, REST API 2022-11-28, "Issues", "Labels", "Rate limits".
    """

    creations_per_minute: ClassVar[int | None] = 20

    def __init__(
        self,
        repository: str,
        token: str,
        *,
        url: str = "https://api.github.com",
        flavor: Literal["github", "gitea"] = "github",
        labels: Iterable[str] = (),
        assignees: Iterable[str] = (),
        milestone: int | None = None,
        name: str | None = None,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        owner, slash, rest = repository.partition("/")
        if not owner or not slash or not rest or "/" in rest:
            raise ValueError(f"expected 'owner/name', got {repository!r}")
        if flavor not in ("github", "gitea"):
            raise ValueError(f"unknown flavor {flavor!r}; known: github, gitea")
        super().__init__(name or f"{flavor}:{repository}")
        self.repository: str = repository
        self.flavor: str = flavor
        self.labels: tuple[str, ...] = tuple(labels)
        if self.labels and flavor == "gitea":
            raise ValueError("Gitea wants labels as numbers; leave 'labels' away")
        self.assignees: tuple[str, ...] = tuple(assignees)
        self.milestone: int | None = milestone
        headers = (
            {
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            }
            if flavor == "github"
            else {"Authorization": f"token {token}"}
        )
        self._caller = Caller(url, headers, timeout=timeout, ssl_context=ssl_context)
        self._path = f"/repos/{quote(owner, safe='')}/{quote(rest, safe='')}"
        self._now = now
        self._markup = Markdown()
        # Where people go, if no issue has told so yet.
        parts = urlsplit(url)
        host = "github.com" if parts.hostname == "api.github.com" else parts.netloc
        self._web = f"{parts.scheme}://{host}/{repository}/issues"

    def _call(self, method: str, path: str, value: object = None, kind: type = dict) -> Any:
        return self._caller.call_json(method, self._path + path, value, kind=kind, now=self._now)

    # -- what all trackers do

    def find(self, marker: str) -> Issue | None:
        """Return the oldest issue with the label of *marker*; else one that has it in its text."""
        size = "per_page" if self.flavor == "github" else "limit"
        for query in (
            {"labels": label_of(marker), "state": "all", size: 50},
            {"state": "all", "sort": "created", "direction": "desc", size: _RECENT},
        ):
            listed = self._call("GET", f"/issues?{urlencode(query)}", kind=list)
            # Pull requests are issues there.
            issues = [one for one in listed or () if not one.get("pull_request")]
            found = choose(
                marker, issues, number="number", text="body", is_labelled="labels" in query
            )
            if found is not None:
                return self._issue(found)
        return None

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Make an issue with the label of *marker*."""
        value: dict[str, Any] = {
            "title": self._markup.title(title, MAX_TITLE),
            "body": self._markup.render(text, MAX_BODY),
        }
        if self.flavor == "github":
            value["labels"] = [label_of(marker), *self.labels]
        else:
            label = {"name": label_of(marker), "color": "#ededed"}
            value["labels"] = [self._call("POST", "/labels", label)["id"]]
        if self.assignees:
            value["assignees"] = list(self.assignees)
        if self.milestone is not None:
            value["milestone"] = self.milestone
        return self._issue(self._call("POST", "/issues", value))

    def comment(self, issue_id: str, text: Text) -> None:
        """Add a comment."""
        body = {"body": self._markup.render(text, MAX_BODY)}
        self._call("POST", f"/issues/{int(issue_id)}/comments", body)

    def reopen(self, issue_id: str, text: Text) -> None:
        """Open the issue, then say why."""
        self._patch(issue_id, {"state": "open", "state_reason": "reopened"})
        self.comment(issue_id, text)

    def close(self, issue_id: str, text: Text) -> None:
        """Close the issue as completed, then say why."""
        self._patch(issue_id, {"state": "closed", "state_reason": "completed"})
        self.comment(issue_id, text)

    def _patch(self, issue_id: str, value: dict[str, str]) -> None:
        if self.flavor != "github":
            del value["state_reason"]
        self._call("PATCH", f"/issues/{int(issue_id)}", value)

    def url(self, issue_id: str) -> str:
        """Return where people see an issue."""
        return f"{self._web}/{issue_id}"

    def disconnect(self) -> None:
        """Close the connection."""
        self._caller.close()

    def _issue(self, found: Mapping[str, Any]) -> Issue:
        number = str(int(found["number"]))
        url = str(found.get("html_url") or self.url(number))
        return Issue(number, url, found.get("state") != "closed")
