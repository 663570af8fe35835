"""Redmine."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from time import time
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

from sprockets.logbook import _caller
from sprockets.logbook.ticketing._trackers._base import Issue, RefusedError, Tracker
from sprockets.logbook.ticketing._trackers._calls import Caller
from sprockets.logbook.ticketing._trackers._marks import choose, label_of
from sprockets.logbook.ticketing._trackers._text import RedmineMarkdown, Text, Textile

_caller.register(__file__)

MAX_SUBJECT: Final = 255
"""Characters of a subject."""
MAX_TEXT: Final = 60_000
"""Characters of a description or a note; its column has 65,535 bytes in MySQL."""


class RedmineTracker(Tracker):
    """Files issues in a project of Redmine; its interface for programs must be enabled there.

    An issue is found again by a custom field, which must be one of issues, for that project, that
    may be filtered by.  Without one, by what its subject ends in: ``[lb:`` and eight digits.

    Args:
        url: Of the Redmine.
        key: Of somebody who may add and edit issues of the project.
        project: Its identifier.
        custom_field: Number of the custom field for the marker.
        tracker_id: Number of the kind of issue; ``None`` leaves it to the project.
        priority_id: Number of the priority.
        category_id: Number of the category.
        assigned_to_id: Number of the user or group whose each issue is.
        fixed_version_id: Number of the version.
        open_status_id: Number of the status of what is opened again; ``None`` means the first that
            is open, as Redmine lists them.
        closed_status_id: The same of what is closed.
        is_private: Whether only few see the issues.
        markup: How that Redmine formats texts.
        switch_user: Login of whom issues and notes are by; *key* must be an administrator's.
        name: Names the tracker in the store of tickets; ``redmine:host/project`` unless given.
        timeout: Seconds for a whole request.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        now: Returns the time in seconds since 1970, for limits that end at a moment.

    Raises:
        ValueError: *url* is no address, or there is no such *markup*.

    Source: redmine.org, "Rest Issues", "Rest IssueStatuses".
    """

    def __init__(
        self,
        url: str,
        key: str,
        project: str,
        *,
        custom_field: int | None = None,
        tracker_id: int | None = None,
        priority_id: int | None = None,
        category_id: int | None = None,
        assigned_to_id: int | None = None,
        fixed_version_id: int | None = None,
        open_status_id: int | None = None,
        closed_status_id: int | None = None,
        is_private: bool = False,
        markup: Literal["textile", "markdown"] = "textile",
        switch_user: str | None = None,
        name: str | None = None,
        timeout: float = 20.0,
        ssl_context: ssl.SSLContext | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        if markup not in ("textile", "markdown"):
            raise ValueError(f"unknown markup {markup!r}; known: textile, markdown")
        super().__init__(name or f"redmine:{urlsplit(url).hostname}/{project}")
        headers = {"X-Redmine-API-Key": key}
        if switch_user is not None:
            headers["X-Redmine-Switch-User"] = switch_user
        self._caller = Caller(url, headers, timeout=timeout, ssl_context=ssl_context)
        self.project: str = project
        self.custom_field: int | None = custom_field
        self.is_private: bool = is_private
        self._given: dict[str, int] = {
            member: value
            for member, value in {
                "tracker_id": tracker_id,
                "priority_id": priority_id,
                "category_id": category_id,
                "assigned_to_id": assigned_to_id,
                "fixed_version_id": fixed_version_id,
            }.items()
            if value is not None
        }
        self._status_ids: dict[bool, int | None] = {True: open_status_id, False: closed_status_id}
        self._now = now
        self._markup = Textile() if markup == "textile" else RedmineMarkdown()

    def _call(self, method: str, path: str, value: object = None) -> Any:
        return self._caller.call_json(method, path, value, now=self._now)

    # -- what all trackers do

    def find(self, marker: str) -> Issue | None:
        """Return the oldest issue with *marker* in its custom field, or as its subject says."""
        query: dict[str, str | int] = {
            "project_id": self.project,
            "status_id": "*",
            "sort": "id",
            "limit": 100,
        }
        if self.custom_field is not None:
            query[f"cf_{self.custom_field}"] = marker
        else:
            query["subject"] = f"~{label_of(marker)}"
        listed = self._call("GET", f"/issues.json?{urlencode(query)}")["issues"]
        if self.custom_field is not None:
            # What the field may not be filtered by, Redmine leaves out of the query.
            listed = [one for one in listed if self._field_of(one) == marker]
            found = min(listed, key=lambda one: int(one["id"]), default=None)
        else:
            found = choose(marker, listed, number="id", text="description")
        if found is None:
            return None
        number = int(found["id"])
        return Issue(str(number), self.url(str(number)), self._is_open(found["status"]))

    def _field_of(self, issue: Mapping[str, Any]) -> object:
        fields = issue.get("custom_fields") or ()
        return next((one.get("value") for one in fields if one["id"] == self.custom_field), None)

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Make an issue that has *marker* in its custom field, or the short form in its subject."""
        ending = "" if self.custom_field is not None else f" [{label_of(marker)}]"
        value: dict[str, Any] = {
            "project_id": self.project,
            "subject": self._markup.title(title, MAX_SUBJECT - len(ending)) + ending,
            "description": self._markup.render(text, MAX_TEXT),
            **self._given,
        }
        if self.is_private:
            value["is_private"] = True
        if self.custom_field is not None:
            value["custom_fields"] = [{"id": self.custom_field, "value": marker}]
        made = self._call("POST", "/issues.json", {"issue": value})["issue"]
        number = str(int(made["id"]))
        return Issue(number, self.url(number))

    def comment(self, issue_id: str, text: Text) -> None:
        """Add a note."""
        self._put(issue_id, text)

    def reopen(self, issue_id: str, text: Text) -> None:
        """Give it a status that is open, with a note.

        Raises:
            RefusedError: The workflow does not let whose key it is do so.
        """
        self._move(issue_id, text, is_open=True)

    def close(self, issue_id: str, text: Text) -> None:
        """Give it a status that is closed, with a note.

        Raises:
            RefusedError: The workflow does not let whose key it is do so.
        """
        self._move(issue_id, text, is_open=False)

    def _move(self, issue_id: str, text: Text, *, is_open: bool) -> None:
        status = self._call("GET", f"/issues/{int(issue_id)}.json")["issue"]["status"]
        if self._is_open(status) == is_open:
            self._put(issue_id, text)
            return
        wanted = self._status_id(is_open)
        self._put(issue_id, text, status_id=wanted)
        # "204" even where the workflow has left the status as it was.
        status = self._call("GET", f"/issues/{int(issue_id)}.json")["issue"]["status"]
        if self._is_open(status) != is_open:
            raise RefusedError(
                f"issue {issue_id} has status {status['id']}, not {wanted}; "
                "let the role of the key's owner change it in the workflow"
            )

    def _put(self, issue_id: str, text: Text, **members: int) -> None:
        value = {"notes": self._markup.render(text, MAX_TEXT), **members}
        self._call("PUT", f"/issues/{int(issue_id)}.json", {"issue": value})

    def url(self, issue_id: str) -> str:
        """Return where people see an issue."""
        return f"{self._caller.url}/issues/{quote(issue_id)}"

    def disconnect(self) -> None:
        """Close the connection."""
        self._caller.close()

    # -- statuses

    def _statuses(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._call("GET", "/issue_statuses.json")["issue_statuses"]
        return listed

    def _is_open(self, status: Mapping[str, Any]) -> bool:
        if "is_closed" in status:  # from Redmine 5 on
            return not status["is_closed"]
        for one in self._statuses():
            if one["id"] == status["id"]:
                return not one.get("is_closed")
        return True

    def _status_id(self, is_open: bool) -> int:
        known = self._status_ids[is_open]
        if known is None:
            for one in self._statuses():
                if bool(one.get("is_closed")) != is_open:
                    known = self._status_ids[is_open] = int(one["id"])
                    break
            else:
                kind = "open" if is_open else "closed"
                raise RefusedError(f"Redmine has no {kind} status; pass {kind}_status_id")
        return known
