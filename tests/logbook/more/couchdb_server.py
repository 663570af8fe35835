"""A double of CouchDB, as far as its documentation tells of storing documents: there is no other.

It is strict where CouchDB is: JSON in UTF-8, no members of its own with an underscore in front, no
document twice under one id.
"""

import json
import re
from base64 import b64encode
from urllib.parse import unquote

from tests.logbook.more.service_server import ServiceHandler, ServiceServer

USER, PASSWORD = "ann", "s:cret/"
DATABASE = "logs/shop"


class Database(ServiceHandler):
    """``/{db}``."""

    def check_headers(self):
        login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.is_known = self.request.headers.get("Authorization") == f"Basic {login}"

    def get(self, name):
        if self.is_allowed(name):
            self.answer(200, {"db_name": DATABASE, "doc_count": len(self.contract.documents)})

    def post(self, name):
        if not self.is_allowed(name):
            return
        documents = self.contract.documents
        document = self.body
        self.expect(re.search(rb"NaN|Infinity", self.request.body) is None, "no strict JSON")
        if self.contract.poison in json.dumps(document):
            self.refuse(413, "document_too_large", document["_id"])
            return
        strange = [key for key in document if key.startswith("_") and key != "_id"]
        if strange or "\ud800" in repr(document):
            self.refuse(400, "doc_validation", f"Bad special document member: {strange}")
            return
        identity = document["_id"]
        if identity in documents:
            self.refuse(409, "conflict", "Document update conflict.")
            return
        documents[identity] = document
        self.answer(201, {"ok": True, "id": identity, "rev": f"1-{len(documents):032x}"})

    def is_allowed(self, name):
        """Return whether the user may do so; says so if not."""
        if not self.is_known:
            self.refuse(401, "unauthorized", "Name or password is incorrect.")
        elif unquote(name) != DATABASE or not self.contract.has_database:
            self.refuse(404, "not_found", "Database does not exist.")
        else:
            return True
        return False

    def refuse(self, status, error, reason):
        """Say no, as CouchDB does."""
        self.answer(status, {"error": error, "reason": reason})


class CouchDBServer(ServiceServer):
    """One database; `documents` are what is in it, by their ids."""

    routes = ((r"/([^/]+)", Database),)

    def __init__(self):
        self.documents = {}
        self.has_database = True
        self.poison = "\0"
        super().__init__()
        self.uri = self.url.replace("//", "//ann:s%3Acret%2F@")

    @property
    def messages(self):
        """The messages of all documents, in the order in which they came."""
        return [document["message"] for document in self.documents.values()]
