"""CouchDB: each record as a document of its own."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from sprockets.logbook import _caller, _fork
from sprockets.logbook._json import encode
from sprockets.logbook._text import safe_str
from sprockets.logbook.delivery import PermanentError, RetryLater
from sprockets.logbook.handlers._http_client import Answer, HTTPClient
from sprockets.logbook.handlers._plain import clean
from sprockets.logbook.ticketing import BackendBase

if TYPE_CHECKING:
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

DEFAULT_URI: Final = "http://localhost:5984/"
"""Where a CouchDB on this machine listens."""

_OPTIONS: Final = frozenset(("db", "ssl_context", "timeout", "uri"))
_LOOKING: Final = 2.0
"""Seconds that the constructor waits at most for CouchDB to say whether the database is there."""
_MAX_UNSURE: Final = 1_000
_NOT_NOW: Final = frozenset((408, 429, 502, 503, 504))
_ITS_FAULT: Final = frozenset((400, 413, 415))


class CouchDBBackend(BackendBase):
    """Stores each record as a document in CouchDB: its fields, with the time in UTC.

    For a `sprockets.logbook.ticketing.TicketingHandler`, behind which a CouchDB that is slow or
    away costs log calls nothing.  There are no tickets: of all that a store does there is
    :meth:`record_ticket` alone.

    A document whose storing was not confirmed is sent again under the same id, so that it is there
    once; only one that was left in a spool by a process that died may be there twice.

    If the database is known to be missing, or the credentials to be wrong, that is raised at once;
    if CouchDB cannot be reached, for which this waits two seconds at most, records wait for it.

    Args:
        options: ``db``: name of the database, which has to exist.  ``uri``: where CouchDB is, user
            name and password included, ``""`` for this machine.  ``timeout``: seconds for a whole
            request, 10 unless given.  ``ssl_context``: for ``https``, verifies against the
            certificates of the system unless given.

    Raises:
        ValueError: There is no ``db``, or *uri* is no address.
        TypeError: There is no such option.
        LookupError: There is no such database.
        PermissionError: CouchDB does not know the user, or does not let the user in.
    """

    def setup_backend(self) -> None:
        """Read the options, and look whether the database is there."""
        unknown = self.options.keys() - _OPTIONS
        if unknown:
            known = ", ".join(sorted(_OPTIONS))
            raise TypeError(f"unknown options {', '.join(sorted(unknown))}; known: {known}")
        db = self.options.get("db")
        if not db:
            raise ValueError("CouchDBBackend needs the name of a database: pass db='logs', say")
        self.db: str = str(db)
        url, headers = _address_of(str(self.options.get("uri") or DEFAULT_URI), self.db)
        self._client = _Client(
            url,
            headers,
            timeout=float(self.options.get("timeout") or 10.0),
            ssl_context=self.options.get("ssl_context"),
            compress_from=None,
        )
        self._begin_anew()
        _fork.hold_at_fork(self)
        self._look()

    def _begin_anew(self) -> None:
        self._lock = Lock()
        self._closings = 0
        # By the hash of what was sent: ids of documents that may be there or not.
        self._unsure: OrderedDict[bytes, str] = OrderedDict()

    def _look(self) -> None:
        try:
            answer = self._client.get(_LOOKING)
        except OSError:
            # The first record will tell.
            return
        if answer.status == 404:
            raise LookupError(self._told(answer))
        if answer.status in (401, 403):
            raise PermissionError(self._told(answer))

    def close(self) -> None:
        """Close the connection; the next document opens another."""
        self._closings += 1
        # Who is at it closes the connection when it is done: this waits for nobody.
        if self._lock.acquire(blocking=False):
            try:
                self._client.close()
            finally:
                self._lock.release()

    def record_ticket(
        self, record: LogRecord, data: Mapping[str, Any], hash: str, app_id: str
    ) -> None:
        """Store *data* as a document.

        Args:
            record: The record.
            data: What is stored of it.
            hash: Not stored.
            app_id: Not stored.

        Raises:
            OSError: CouchDB cannot be reached, or wants nothing at present.
            RetryLater: It says when to come again.
            PermanentError: It refuses all documents.
            ValueError: It refuses this one.
            RuntimeError: It fails, or what answers is no CouchDB.
        """
        facts = _storable(data)
        key = sha256(encode(facts).encode()).digest()
        closings = self._closings
        try:
            with self._lock:
                self._store(facts, key)
        finally:
            if self._closings != closings:
                self.close()

    def _store(self, facts: dict[str, Any], key: bytes) -> None:
        name = self._unsure.pop(key, None) or uuid4().hex
        try:
            self._check(self._client.post(encode({"_id": name, **facts}).encode()))
        except (OSError, RetryLater, RuntimeError):
            # It may be there: the next try has the same id, and is told of it.
            self._unsure[key] = name
            if len(self._unsure) > _MAX_UNSURE:
                self._unsure.popitem(last=False)
            raise

    def _check(self, answer: Answer) -> None:
        status = answer.status
        if status == 409 or (status in (201, 202) and _says_ok(answer.body)):
            # A conflict is with the same document: nobody else knows its id.
            return
        text = self._told(answer)
        if status in _NOT_NOW:
            after = answer.retry_after()
            raise (ConnectionError(text) if after is None else RetryLater(after, text))
        if status in _ITS_FAULT:
            raise ValueError(text)
        if status >= 500 or 200 <= status < 300:
            raise RuntimeError(text)
        raise PermanentError(text)

    def _told(self, answer: Answer) -> str:
        """Return what an answer says, and what to do about it."""
        said = safe_str(answer.body[:200].decode("utf-8", "replace").strip(), 200)
        text = f"CouchDB at {self._client.host} answered {answer.status}: {said}"
        if answer.status == 404:
            text += f"; make the database with: curl -X PUT <address>/{quote(self.db, safe='')}"
        elif answer.status in (401, 403):
            text += "; pass uri='https://name:password@host:6984/' of a user who may write there"
        return text

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child has a connection of its own."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """Let go of what a thread of the parent may hold."""
        self._begin_anew()


class _Client(HTTPClient):
    """Asks, too."""

    def get(self, longest: float) -> Answer:
        """Ask for the database, and return the answer.

        Raises:
            OSError: There is no connection, or no proper answer within *longest* seconds.
        """
        deadline = self._clock() + min(self.timeout, longest)
        try:
            connection = self._connect(deadline)
            connection.sock.settimeout(self._remaining(deadline))
            connection.request("GET", self.path, headers=self.headers)
            response = self._response(connection, deadline)
            return Answer(response.status, {}, response.read(65_536))
        except http.client.HTTPException as error:
            raise ConnectionError(f"no proper answer from {self.host}: {error!r}") from error
        finally:
            self.close()


def _address_of(uri: str, db: str) -> tuple[str, dict[str, str]]:
    """Return the address of a database, and the headers of requests for it.

    >>> _address_of("http://ann:s%3Acret@couch:5984", "logs/shop")[0]
    'http://couch:5984/logs%2Fshop'
    """
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "sprockets.logbook",
    }
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}/{quote(db, safe='')}", headers


def _storable(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return *data* as CouchDB takes it: what JSON has, without halves of characters."""
    found: dict[str, Any] = _cleaned(json.loads(encode(dict(data))))
    return found


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value


def _says_ok(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and answer.get("ok") is True
