"""GitHub's issues, as docs.github.com has them (REST API 2022-11-28); and Gitea's."""

import re
from typing import ClassVar

import tornado.web

from tests.logbook.ticketing.trackers.contract_server import ContractHandler, ContractServer
from tests.logbook.ticketing.trackers.published import Published

_NEW = {"title", "body", "labels", "assignees", "milestone", "type"}
_CHANGES = {"title", "body", "state", "state_reason", "labels", "assignees", "milestone"}


_API = "https://api.github.com/repos/o/r"
_TIME = "2026-01-01T00:00:00Z"
_USER = {"login": "bot", "id": 1, "type": "User"}


def _rest_of(number):
    """Return what else an issue has."""
    url = f"{_API}/issues/{number}"
    return {
        "id": 9_000 + number,
        "node_id": f"I_{number}",
        "url": url,
        "repository_url": _API,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "user": _USER,
        "assignee": None,
        "milestone": None,
        "locked": False,
        "comments": 0,
        "closed_at": None,
        "created_at": _TIME,
        "updated_at": _TIME,
    }


class _Handler(ContractHandler):
    def check_headers(self):
        headers = self.request.headers
        self.expect(headers.get("User-Agent"), "GitHub refuses requests without a User-Agent")
        if self.contract.is_gitea:
            if headers.get("Authorization") != "token s3cr3t":
                raise tornado.web.HTTPError(401, reason="invalid username, password or token")
            return
        self.expect(headers.get("Accept") == "application/vnd.github+json", "Accept")
        self.expect(headers.get("X-GitHub-Api-Version") == "2022-11-28", "the version")
        if headers.get("Authorization") != "Bearer s3cr3t":
            raise tornado.web.HTTPError(401, reason="Bad credentials")

    def issue(self, number):
        found = [one for one in self.contract.issues if one["number"] == int(number)]
        if not found:
            raise tornado.web.HTTPError(404)
        return found[0]


class Issues(_Handler):
    """What is at ``/repos/{owner}/{repo}/issues``."""

    operations: ClassVar = {
        "GET": "GET /repos/{owner}/{repo}/issues",
        "POST": "POST /repos/{owner}/{repo}/issues",
    }

    def get(self):
        size = "limit" if self.contract.is_gitea else "per_page"
        known = {"labels", "state", "sort", "direction", size, "page"}
        self.expect(set(self.request.arguments) <= known, "an unknown parameter")
        self.expect(self.get_query_argument("state") in ("open", "closed", "all"), "state")
        count = int(self.get_query_argument(size, "30"))
        self.expect(1 <= count <= 100, size)
        labels = {one for one in self.get_query_argument("labels", "").split(",") if one}
        found = [
            one
            for one in self.contract.issues
            if labels <= {label["name"] for label in one["labels"]}
        ]
        found.sort(key=lambda one: one["number"], reverse=True)
        self.answer(200, found[:count])

    def post(self):
        contract, body = self.contract, self.body
        self.expect(isinstance(body, dict) and set(body) <= _NEW, "an unknown member")
        self.expect(body.get("title"), "no title")
        self.expect(len(body["title"]) <= 256, "the title is too long")
        self.expect(len(body.get("body", "")) <= 65_536, "the body is too long")
        labels = body.get("labels", [])
        if contract.is_gitea:
            known = {one["id"]: one["name"] for one in contract.labels}
            self.expect(all(isinstance(one, int) and one in known for one in labels), "labels")
            labels = [known[one] for one in labels]
        self.expect(all(isinstance(one, str) and len(one) <= 50 for one in labels), "labels")
        number = len(contract.issues) + 1
        made = {
            **_rest_of(number),
            "number": number,
            "title": body["title"],
            "body": body.get("body"),
            "state": "open",
            "state_reason": None,
            "labels": [{"name": one} for one in (labels if contract.may_push else ())],
            "assignees": [{"login": one} for one in body.get("assignees", ())],
            "milestone": body.get("milestone") and {"number": body["milestone"]},
            "html_url": f"https://github.com/o/r/issues/{number}",
            "comments_": [],
        }
        contract.issues.append(made)
        self.answer(201, made)


class Issue(_Handler):
    """What is at ``/repos/{owner}/{repo}/issues/{number}``."""

    operations: ClassVar = {"PATCH": "PATCH /repos/{owner}/{repo}/issues/{issue_number}"}

    def patch(self, number):
        body = self.body
        self.expect(isinstance(body, dict) and set(body) <= _CHANGES, "an unknown member")
        self.expect(body.get("state") in ("open", "closed"), "state")
        reasons = {"completed", "not_planned", "duplicate", "reopened", None}
        self.expect(body.get("state_reason") in reasons, "state_reason")
        self.expect(not self.contract.is_gitea or "state_reason" not in body, "state_reason")
        found = self.issue(number)
        found.update(body)
        self.answer(200, found)


class Comments(_Handler):
    """What is at ``/repos/{owner}/{repo}/issues/{number}/comments``."""

    operations: ClassVar = {"POST": "POST /repos/{owner}/{repo}/issues/{issue_number}/comments"}

    def post(self, number):
        self.expect(isinstance(self.body, dict) and set(self.body) == {"body"}, "members")
        self.expect(0 < len(self.body["body"]) <= 65_536, "the body")
        self.issue(number)["comments_"].append(self.body["body"])
        url = f"{_API}/issues/comments/1"
        self.answer(
            201,
            {
                "id": 1,
                "node_id": "IC_1",
                "url": url,
                "body": self.body["body"],
                "html_url": f"https://github.com/o/r/issues/{number}#issuecomment-1",
                "user": _USER,
                "created_at": _TIME,
                "updated_at": _TIME,
                "issue_url": f"{_API}/issues/{number}",
                "author_association": "MEMBER",
                "performed_via_github_app": None,
            },
        )


class Labels(_Handler):
    """What is at ``/repos/{owner}/{repo}/labels``, at Gitea's."""

    def post(self):
        self.expect(self.contract.is_gitea, "GitHub makes labels with the issue")
        self.expect(re.fullmatch("#[0-9a-f]{6}", self.body["color"]), "color")
        made = {"id": len(self.contract.labels) + 100, "name": self.body["name"]}
        self.contract.labels.append(made)
        self.answer(201, made)


class GitHubServer(ContractServer):
    """A repository ``o/r``; GitHub Enterprise has its interface under ``/api/v3``."""

    is_gitea = False
    may_push = True
    published = Published("github")
    routes = (
        (r"/api/v[13]/repos/o/r/issues", Issues),
        (r"/api/v[13]/repos/o/r/issues/(\d+)", Issue),
        (r"/api/v[13]/repos/o/r/issues/(\d+)/comments", Comments),
        (r"/api/v1/repos/o/r/labels", Labels),
    )


class GiteaServer(GitHubServer):
    """The same, of Gitea."""

    is_gitea = True
    published = None
