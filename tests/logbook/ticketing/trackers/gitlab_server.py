"""GitLab's issues, as docs.gitlab.com has them (API v4)."""

from typing import ClassVar

import tornado.web

from tests.logbook.ticketing.trackers.contract_server import ContractHandler, ContractServer
from tests.logbook.ticketing.trackers.published import Published

_NEW = {
    "title",
    "description",
    "labels",
    "assignee_ids",
    "confidential",
    "issue_type",
    "milestone_id",
}


_TIME = "2026-01-01T00:00:00.000Z"
_AUTHOR = {
    "id": 1,
    "username": "bot",
    "name": "Bot",
    "state": "active",
    "avatar_url": "https://gitlab.example/bot.png",
    "web_url": "https://gitlab.example/bot",
}


class _Handler(ContractHandler):
    def check_headers(self):
        headers = self.request.headers
        token = headers.get("PRIVATE-TOKEN") or headers.get("Authorization")
        if token not in ("s3cr3t", "Bearer s3cr3t"):
            raise tornado.web.HTTPError(401, reason="401 Unauthorized")

    def issue(self, iid):
        found = [one for one in self.contract.issues if one["iid"] == int(iid)]
        if not found:
            raise tornado.web.HTTPError(404, reason="404 Not found")
        return found[0]


class Issues(_Handler):
    """What is at ``/projects/:id/issues``."""

    operations: ClassVar = {
        "GET": "GET /projects/{id}/issues",
        "POST": "POST /projects/{id}/issues",
    }

    def get(self):
        known = {"labels", "state", "search", "in", "per_page", "page", "order_by", "sort"}
        self.expect(set(self.request.arguments) <= known, "an unknown parameter")
        self.expect(self.get_query_argument("state") in ("opened", "closed", "all"), "state")
        self.expect(1 <= int(self.get_query_argument("per_page", "20")) <= 100, "per_page")
        where = self.get_query_argument("in", "title,description").split(",")
        self.expect(set(where) <= {"title", "description"}, "in")
        labels = {one for one in self.get_query_argument("labels", "").split(",") if one}
        search = self.get_query_argument("search", "")
        self.answer(
            200,
            [
                one
                for one in reversed(self.contract.issues)
                if labels <= set(one["labels"]) and any(search in one[name] for name in where)
            ],
        )

    def post(self):
        contract, body = self.contract, self.body
        self.expect(isinstance(body, dict) and set(body) <= _NEW, "an unknown member")
        self.expect(body.get("title") and len(body["title"]) <= 255, "the title")
        self.expect(len(body.get("description", "")) <= 1_048_576, "the description")
        self.expect(isinstance(body.get("labels", ""), str), "labels are one text with commas")
        self.expect(body.get("issue_type", "issue") in ("issue", "incident", "task"), "the type")
        self.expect(isinstance(body.get("assignee_ids", []), list), "assignee_ids")
        made = {
            "id": 7_000 + len(contract.issues),
            "iid": len(contract.issues) + 1,
            "title": body["title"],
            "description": body.get("description", ""),
            "state": "opened",
            "labels": body.get("labels", "").split(",") if contract.may_label else [],
            "confidential": body.get("confidential", False),
            "assignee_ids": body.get("assignee_ids", []),
            "issue_type": body.get("issue_type", "issue"),
            "web_url": f"https://gitlab.example/g/p/-/issues/{len(contract.issues) + 1}",
            "project_id": 1,
            "created_at": _TIME,
            "updated_at": _TIME,
            "milestone": None,
            "assignees": [],
            "author": _AUTHOR,
            "user_notes_count": 0,
            "upvotes": 0,
            "downvotes": 0,
            "due_date": None,
            "notes_": [],
        }
        contract.issues.append(made)
        self.answer(201, made)


class Issue(_Handler):
    """What is at ``/projects/:id/issues/:iid``."""

    operations: ClassVar = {"PUT": "PUT /projects/{id}/issues/{issue_iid}"}

    def put(self, iid):
        self.expect(set(self.body) <= {"state_event", "add_labels", "title"}, "a member")
        self.expect(self.body["state_event"] in ("close", "reopen"), "state_event")
        found = self.issue(iid)
        found["state"] = "closed" if self.body["state_event"] == "close" else "opened"
        self.answer(200, found)


class Notes(_Handler):
    """What is at ``/projects/:id/issues/:iid/notes``."""

    operations: ClassVar = {"POST": "POST /projects/{id}/issues/{issue_iid}/notes"}

    def post(self, iid):
        self.expect(set(self.body) == {"body"}, "members")
        self.expect(0 < len(self.body["body"]) <= 1_000_000, "the body")
        self.issue(iid)["notes_"].append(self.body["body"])
        self.answer(
            201,
            {
                "id": 1,
                "type": None,
                "body": self.body["body"],
                "attachment": None,
                "author": _AUTHOR,
                "created_at": _TIME,
                "updated_at": _TIME,
                "system": False,
                "noteable_id": 7_000 + int(iid),
                "noteable_type": "Issue",
                "noteable_iid": int(iid),
                "resolvable": False,
                "internal": False,
            },
        )


class GitLabServer(ContractServer):
    """A project ``g/p``; its path is one segment, quoted."""

    may_label = True
    published = Published("gitlab")
    routes = (
        (r"/api/v4/projects/g%2Fp/issues", Issues),
        (r"/api/v4/projects/g%2Fp/issues/(\d+)", Issue),
        (r"/api/v4/projects/g%2Fp/issues/(\d+)/notes", Notes),
    )
