"""CouchDB: what is stored of a record, once, and what becomes of records while it is away.

There is no CouchDB here: a double stands for it that answers as its documentation says.
"""

import json
import os
import socket
import threading
from datetime import datetime

import pytest

from sprockets.logbook import INFO, Flags, Logger, LogRecord
from sprockets.logbook.delivery import PermanentError, Retry, RetryLater
from sprockets.logbook.handlers._http_client import Answer
from sprockets.logbook.more import CouchDBBackend, _couchdb
from sprockets.logbook.ticketing import BackendBase, TicketingHandler
from tests.logbook.more.couchdb_server import DATABASE, CouchDBServer

log = Logger("till")
QUICK = Retry(initial=0.005, maximum=0.02)
LIMIT = 30.0  # seconds


@pytest.fixture(name="couch")
def _couch():
    server = CouchDBServer()
    yield server
    server.close()


@pytest.fixture(name="backend")
def _backend(couch):
    backend = CouchDBBackend(uri=couch.uri, db=DATABASE, timeout=0.3)
    yield backend
    backend.close()


@pytest.fixture(name="make")
def _make(couch):
    """Make handlers that store there, quickly."""
    made = []

    def make(uri=None, **options):
        options = {"db": DATABASE, "timeout": 0.3, "retry": QUICK, **options}
        handler = TicketingHandler(uri or couch.uri, backend=CouchDBBackend, **options)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        with Flags(errors="silent"):
            handler.close(0.2)


def data_of(message="m", **facts):
    """Return what is stored of a record."""
    record = LogRecord("till", INFO, message)
    record.heavy_init()
    return {**record.to_dict(json_safe=True), **facts}


def store(backend, data):
    """Store *data*."""
    backend.record_ticket(None, data, "0" * 40, "shop")


def assert_adds_up(statistics):
    """Each accepted record has exactly one fate."""
    assert statistics["accepted"] == (
        statistics["delivered"]
        + statistics["queued"]
        + statistics["spooled"]
        + statistics["dead"]
        + sum(statistics["dropped"].values())
    )


# -- what is stored


@pytest.mark.rule("RS-14")
def test_a_record_is_a_document_of_its_fields(couch, make):
    """None of them inside another, and the time in UTC."""
    handler = make()
    with handler:
        log.warning("sold {}", "tea", extra={"till": 4})
    assert handler.close(LIMIT)

    (document,) = couch.documents.values()
    assert document["message"] == "sold tea"
    assert (document["channel"], document["msg"], document["args"]) == ("till", "sold {}", ["tea"])
    assert document["extra"] == {"till": 4}
    assert document["filename"] == __file__
    assert document["time"].endswith("Z")
    assert datetime.fromisoformat(document["time"]).utcoffset().total_seconds() == 0
    assert {"hash", "data", "app_id"}.isdisjoint(document)


@pytest.mark.rule("RS-16", "Y-49")
def test_each_record_is_stored_once(couch, make):
    """One request each, and one revision, over one connection."""
    handler = make()
    with handler:
        for number in range(20):
            log.info("{}", number)
    assert handler.close(LIMIT)

    assert couch.messages == [str(number) for number in range(20)]
    assert couch.count("POST", "") == 20
    assert handler.statistics()["delivered"] == 20


@pytest.mark.rule("RS-16", "Y-49")
def test_unusual_values_are_no_reason_not_to_store(couch, make):
    """Objects, numbers that are none, bytes, and halves of characters."""
    handler = make()
    extra = {"o": object(), "nan": float("nan"), "b": b"\xff", "when": datetime(2026, 1, 2), 1: 2}
    with handler:
        log.info("half \ud800", extra={**extra, "deep \udfff": ["\ud800", 2**70]})
    assert handler.close(LIMIT)

    (document,) = couch.documents.values()
    assert document["message"] == "half �"
    assert document["extra"]["nan"] is None
    assert document["extra"]["o"] is None
    assert document["extra"]["deep �"] == ["�", 2**70]


@pytest.mark.rule("RS-16", "Y-49")
def test_what_is_not_safe_for_json_is_made_so(couch, backend):
    """Whoever calls the store by himself may pass anything."""
    store(backend, {"message": "m", "value": {1, 2}})
    store(backend, {})

    first, second = couch.documents.values()
    assert (first["value"], second.keys()) == (None, {"_id"})


@pytest.mark.rule("RS-14")
def test_there_is_nothing_else_to_it(backend):
    """All other methods of a store say that they are not there."""
    own = {"setup_backend", "record_ticket", "close"}
    asked = 0
    for name, method in vars(BackendBase).items():
        if callable(method) and not name.startswith("_") and name not in own:
            assert getattr(CouchDBBackend, name) is method
            asked += 1
    assert asked > 20
    with pytest.raises(NotImplementedError):
        backend.count_tickets()
    with pytest.raises(NotImplementedError):
        backend.get_tickets()


# -- making one


@pytest.mark.rule("RS-15")
def test_the_name_of_a_database_is_needed():
    """And what else is passed has to be known."""
    with pytest.raises(ValueError, match="needs the name of a database"):
        CouchDBBackend(uri="http://127.0.0.1:9/")
    with pytest.raises(ValueError, match="needs the name of a database"):
        TicketingHandler("", backend=CouchDBBackend)
    with pytest.raises(TypeError, match="unknown options colour; known: db, ssl_context"):
        CouchDBBackend(db="logs", colour="red")
    with pytest.raises(ValueError, match="not an http or https address"):
        CouchDBBackend(uri="couch:5984", db="logs")


@pytest.mark.rule("RS-15")
def test_a_database_that_is_not_there_is_told_at_once(couch):
    """With what makes one."""
    with pytest.raises(LookupError, match=r"404.*does not exist.*curl -X PUT <address>/orders"):
        CouchDBBackend(uri=couch.uri, db="orders")


def test_credentials_that_are_wrong_are_told_at_once(couch):
    """But not the credentials."""
    with pytest.raises(PermissionError, match="401") as told:
        CouchDBBackend(uri=couch.uri.replace("s%3A", "guess"), db=DATABASE)

    assert "guess" not in str(told.value)


def test_without_an_address_it_is_this_machine(monkeypatch):
    """At CouchDB's own port."""
    monkeypatch.setattr(CouchDBBackend, "_look", lambda self: None)

    backend = CouchDBBackend(db="logs")

    assert (backend._client.host, backend._client.port) == ("localhost", 5984)
    assert backend._client.path == "/logs"


def test_a_couch_that_is_away_does_not_keep_a_program_from_starting(make, couch):
    """Its records wait, up to a bound."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        handler = make(f"http://127.0.0.1:{taken.getsockname()[1]}/", capacity=10)
        with handler:
            for number in range(1_000):
                log.info("{}", number)
        assert handler.close(0.05) is False

    statistics = handler.statistics()
    assert (statistics["accepted"], statistics["delivered"]) == (1_000, 0)
    assert statistics["dropped"]["full"] >= 500
    assert_adds_up(statistics)


@pytest.mark.parametrize("step", ["silence", "drip", "reset", (503, {}, {}), b"<html>"], ids=str)
def test_a_couch_in_trouble_does_not_keep_a_program_from_starting(step, couch, monkeypatch):
    """It is asked once, for a short while; the first record tells more."""
    monkeypatch.setattr(_couchdb, "_LOOKING", 0.1)
    couch.fault("GET", step)

    backend = CouchDBBackend(uri=couch.uri, db=DATABASE)
    store(backend, data_of())
    backend.close()

    assert couch.messages == ["m"]


# -- when CouchDB says no


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ((401, {}, {"error": "unauthorized"}), PermanentError),
        ((403, {}, {"error": "forbidden"}), PermanentError),
        ((404, {}, {"error": "not_found"}), PermanentError),
        ((301, {"Location": "/x"}, {}), PermanentError),
        ((400, {}, {"error": "bad_request"}), ValueError),
        ((413, {}, {"error": "document_too_large"}), ValueError),
        ((500, {}, {"error": "internal_server_error"}), RuntimeError),
        ((503, {}, {"error": "service_unavailable"}), ConnectionError),
        ((503, {"Retry-After": "7"}, {}), RetryLater),
        ((429, {"Retry-After": "7"}, {}), RetryLater),
        (b"<html>please log in</html>", RuntimeError),
        (b'{"ok": false}', RuntimeError),
        (b"[1]", RuntimeError),
        ("reset", OSError),
        ("silence", TimeoutError),
        ("drip", TimeoutError),
    ],
    ids=str,
)
def test_each_answer_says_whether_to_try_again(step, kind, couch, backend):
    """An answer that a request succeeded is none unless it is CouchDB's."""
    couch.fault("POST", step)

    with pytest.raises(kind):
        store(backend, data_of())
    store(backend, data_of("after"))

    assert couch.messages == ["after"]


@pytest.mark.parametrize("body", [b"<html>", b"[", b"null", b'{"ok": 1}', b"[" * 100_000])
def test_a_good_status_alone_does_not_say_that_a_document_is_there(body, backend):
    """Something else than CouchDB may answer."""
    with pytest.raises(RuntimeError, match="answered 201"):
        backend._check(Answer(201, {}, body))


@pytest.mark.parametrize("step", [(202, {}, {"ok": True, "id": "x"}), (409, {}, {})])
def test_a_document_that_is_there_is_stored(step, couch, backend):
    """Whether all nodes have it yet, or it was there before."""
    couch.fault("POST", step)

    store(backend, data_of())


@pytest.mark.rule("RS-16", "Y-49")
@pytest.mark.parametrize("script", [["lost"], ["lost", "lost"], ["lost", "reset", (503, {}, {})]])
def test_a_document_whose_answer_is_lost_is_stored_once(script, couch, make):
    """It is sent again under the same id, and CouchDB says that it has it."""
    couch.fault("POST", *script)
    handler = make()
    with handler:
        for number in range(3):
            log.info("{}", number)
    assert handler.close(LIMIT)

    assert couch.messages == ["0", "1", "2"]
    statistics = handler.statistics()
    assert (statistics["delivered"], statistics["failed"]) == (3, len(script))
    assert couch.count("POST", "") == 3 + len(script)


def test_equal_records_are_as_many_documents(couch, backend):
    """Only what may have been stored already goes under a known id."""
    data = data_of()
    store(backend, data)
    store(backend, data)

    assert len(couch.documents) == 2


def test_ids_in_doubt_are_forgotten_in_the_end(backend, couch, monkeypatch):
    """A store that fails for days does not fill the memory."""
    monkeypatch.setattr(_couchdb, "_MAX_UNSURE", 5)
    couch.fault("POST", *[(503, {}, {})] * 8)
    for number in range(8):
        with pytest.raises(ConnectionError):
            store(backend, {"message": str(number)})

    assert len(backend._unsure) == 5


def test_a_record_that_is_refused_takes_no_other_with_it(couch, make, capfd):
    """It is a dead letter, and reported."""
    couch.poison = "poison"
    handler = make()
    with handler:
        for number in range(10):
            log.info("{}{}", "poison" if number in (0, 4) else "", number)
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert couch.messages == [str(number) for number in range(10) if number not in (0, 4)]
    assert (statistics["delivered"], statistics["dead"]) == (8, 2)
    assert_adds_up(statistics)
    assert "document_too_large" in capfd.readouterr().err


def test_a_database_that_goes_away_is_reported_with_what_to_do(couch, make, capfd):
    """Its records are dead letters; the next ones are not, once it is there again."""
    handler = make()
    couch.has_database = False
    with handler:
        log.info("lost")
        assert handler.flush(LIMIT)
        couch.has_database = True
        log.info("kept")
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert (statistics["delivered"], statistics["dead"]) == (1, 1)
    assert couch.messages == ["kept"]
    told = capfd.readouterr().err
    assert "make the database with: curl -X PUT <address>/logs%2Fshop" in told
    assert "s:cret" not in told


# -- when it says nothing


@pytest.mark.parametrize(
    "script",
    [
        [],
        [(500, {}, {})],
        [(503, {"Retry-After": "0"}, {}), (503, {}, {})],
        ["reset", "reset"],
        ["silence"],
        ["drip"],
        [b"<html>"],
    ],
    ids=str,
)
def test_what_passes_costs_no_record(script, couch, make):
    """Each is stored once, in order; the empty script is the control."""
    couch.fault("POST", *script)
    handler = make()
    with handler:
        for number in range(10):
            log.info("{}", number)
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert couch.messages == [str(number) for number in range(10)]
    assert (statistics["delivered"], statistics["failed"]) == (10, len(script))
    assert_adds_up(statistics)


def test_no_log_call_talks_to_couchdb(couch, make):
    """All is stored by the handler's own thread, however CouchDB behaves."""
    couch.fault("POST", "reset", "silence", (500, {}, {}))
    storing = set()
    handler = make()
    original = handler.db._check

    def check(answer):
        storing.add(threading.get_ident())
        original(answer)

    handler.db._check = check
    with handler:
        for number in range(20):
            log.info("{}", number)
    assert handler.close(LIMIT)

    assert len(couch.messages) == 20
    assert storing
    assert threading.get_ident() not in storing


def test_closing_does_not_wait_for_a_couch_that_is_silent(couch, make):
    """What is left is counted; who still waits for an answer closes the connection himself."""
    couch.fault("POST", "silence")
    handler = make(timeout=1.0)
    with handler:
        for number in range(100):
            log.info("{}", number)
    assert handler.close(0.05) is False

    statistics = handler.statistics()
    assert (statistics["accepted"], statistics["dropped"]) == (100, {"closed": 100})
    backend = handler._db
    with backend._lock:
        pass
    assert backend._client._connection is None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_stores_over_a_connection_of_its_own(couch, make):
    """Even if a thread of the parent is in the middle of storing."""
    backend = make().db
    store(backend, data_of("parent"))
    backend._lock.acquire()
    pid = os.fork()
    if pid == 0:
        storing = threading.Thread(target=store, args=(backend, data_of("child")), daemon=True)
        storing.start()
        storing.join(LIMIT)
        os._exit(storing.is_alive())
    backend._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store(backend, data_of("again"))

    assert couch.messages == ["parent", "child", "again"]


def test_an_immediate_handler_stores_in_the_call(couch, make):
    """And hears what goes wrong."""
    handler = make(immediate=True)
    couch.fault("POST", None, (503, {}, {}))
    with handler, Flags(errors="raise"):
        log.info("one")
        with pytest.raises(ConnectionError, match="answered 503"):
            log.info("two")

    assert couch.messages == ["one"]
    assert json.loads(couch.requests[-1][2])["message"] == "two"
