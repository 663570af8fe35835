"""Tickets in MongoDB: what every store owes, and what is particular to this one.

The servers are SecantusDB, which speaks MongoDB's protocol: one as a replica set, with
transactions, and one as a single server, without.  ``SPROCKETS_TEST_MONGODB`` names another server
to test with, as in ``mongodb://127.0.0.1:27017``.
"""

import json
import os
import socket
import subprocess
import sys
import textwrap
import uuid
from datetime import timedelta
from importlib.util import find_spec

import pytest

from sprockets._support.optional import MissingDependency
from sprockets.logbook.ticketing._model import Retention
from sprockets.logbook.ticketing._search import Query
from tests.logbook.ticketing.contract import (
    START,
    StoreContract,
    after,
    fingerprint_of,
    hash_of,
    in_threads,
    make_entry,
)
from tests.logbook.ticketing.walking import walk
from tests.services import require

pymongo = pytest.importorskip("pymongo")
bson = pytest.importorskip("bson")

from sprockets.logbook.ticketing._mongodb import MongoDBBackend  # noqa: E402 - needs pymongo

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
REPLICA_SET = ("--enable-test-commands",)
STANDALONE = ("--enable-test-commands", "--standalone")


class Server:
    """A server of our own, in a folder of its own.

    Args:
        folder: Where it keeps what it is told.
        options: Of its command.
    """

    def __init__(self, folder, *options):
        require(find_spec("secantus"), "SecantusDB is not installed")
        self.folder, self.options = folder, options
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self):
        folder = str(self.folder / "data")
        command = [sys.executable, "-m", "secantus", "--port", str(self.port), "--storage-path"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, folder, *self.options], stdout=log, stderr=log, cwd=self.folder
            )
        with pymongo.MongoClient(self.url, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")

    def kill(self):
        self.process.kill()
        self.process.wait(60)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(name="start_server", scope="session")
def _start_server(tmp_path_factory):
    """Return a function that starts a server; all end with the session."""
    servers = {}

    def start(*options):
        if options not in servers:
            server = Server(tmp_path_factory.mktemp("mongodb"), *options)
            servers[options] = server
            server.start()
        return servers[options].url

    yield start
    for server in servers.values():
        if server.process is not None:
            server.kill()


@pytest.fixture(name="make_url")
def _make_url(start_server):
    """Return a function that names a new database on a server of a kind."""
    made = []

    def make(options):
        server = os.environ.get("SPROCKETS_TEST_MONGODB") or start_server(*options)
        made.append((server, f"t{uuid.uuid4().hex}"))
        return "/".join(made[-1])

    yield make
    for server, name in made:
        with pymongo.MongoClient(server) as client:
            client.drop_database(name)


@pytest.fixture(name="url", params=[REPLICA_SET, STANDALONE], ids=["replica set", "single server"])
def _url(request, make_url):
    """The URL of a new database, with transactions and without."""
    return make_url(request.param)


@pytest.fixture(
    name="kept",
    params=[REPLICA_SET, STANDALONE],
    ids=["replica set", "single server"],
    scope="module",
)
def _kept(request, start_server):
    """A database of a server of each kind, with the indexes of a store; kept for the module."""
    server = os.environ.get("SPROCKETS_TEST_MONGODB") or start_server(*request.param)
    name = f"t{uuid.uuid4().hex}"
    MongoDBBackend(uri=f"{server}/{name}").close()
    with pymongo.MongoClient(server) as client:
        yield f"{server}/{name}", client[name]
        client.drop_database(name)


@pytest.fixture(name="emptied_url")
def _emptied_url(kept):
    """The URL of a database that is empty but for its indexes, which take long to make."""
    url, database = kept
    for name in database.list_collection_names():
        database[name].delete_many({})
    return url


@pytest.fixture(name="database")
def _database(url):
    with pymongo.MongoClient(url) as client:
        yield client.get_default_database()


@pytest.fixture(name="store")
def _store(url):
    store = MongoDBBackend(uri=url)
    yield store
    store.close()


@pytest.fixture(name="fail")
def _fail(database):
    """Return a function that makes the server refuse commands, as often as is said."""
    if os.environ.get("SPROCKETS_TEST_MONGODB"):
        pytest.skip("failures are ordered from servers of our own")

    def fail(command, number, code=8, **more):
        database.client.admin.command(
            {
                "configureFailPoint": "failCommand",
                "mode": {"times": number} if number else "off",
                "data": {"failCommands": [command], "errorCode": code, **more},
            }
        )

    yield fail
    fail("insert", 0)


class TestMongoDBBackend(StoreContract):
    """What every store owes, with transactions and without."""

    @pytest.fixture(name="make_store")
    def _make_store(self, emptied_url):
        # The indexes are there.
        return lambda: MongoDBBackend(uri=emptied_url, autocreate_indexes=False)

    @pytest.fixture(name="unknown_id", params=["6b01b4b72c64320cffdcb421", "no id", 7])
    def _unknown_id(self, request):
        return request.param

    def assert_time(self, found, expected):
        assert abs(found - expected) < timedelta(milliseconds=1)


def test_the_store_does_what_the_model_does(kept):
    """A hundred random steps."""
    url, database = kept

    def make_empty_store():
        for name in database.list_collection_names():
            database[name].delete_many({})
        return MongoDBBackend(uri=url, autocreate_indexes=False)

    walk(make_empty_store, walks=2)


# -- connecting


@pytest.mark.rule("MG-1")
def test_without_pymongo_it_says_what_to_install(monkeypatch):
    """It is an extra; the error is a RuntimeError, too."""
    program = """
        import sys
        sys.modules["pymongo"] = None
        from sprockets.logbook.ticketing import MongoDBBackend
        try:
            MongoDBBackend(uri="mongodb://127.0.0.1/logs")
        except RuntimeError as error:
            print(type(error).__name__, error)
    """
    done = run_program(program)

    assert done.startswith(MissingDependency.__name__)
    assert "pip install 'sprockets.http[mongodb]'" in done


def run_program(program, *arguments):
    """Run *program* in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.rule("MG-1")
def test_a_uri_without_a_database_is_refused_and_shows_no_password():
    """Whatever is wrong with it, what is in it is a secret."""
    with pytest.raises(ValueError, match="names no database") as caught:
        MongoDBBackend(uri="mongodb://ann:secret@127.0.0.1:1")

    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_what_is_no_server_at_all_is_said_at_once(url):
    """A server that is not there is an error of the constructor, and so is a wrong option."""
    with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
        MongoDBBackend(
            uri="mongodb://127.0.0.1:1/logs", client_options={"serverSelectionTimeoutMS": 10}
        )
    with pytest.raises(TypeError, match="unknown: colour"):
        MongoDBBackend(uri=url, colour="red")
    with pytest.raises(TypeError, match="uri is missing"):
        MongoDBBackend()
    with pytest.raises(TypeError, match="got int"):
        MongoDBBackend(uri=7)


@pytest.mark.rule("MG-3")
@pytest.mark.parametrize("kind", ["client", "database", "database and name", "name beside a URI"])
def test_a_client_or_a_database_may_be_passed_and_stays_open(url, kind):
    """It is somebody else's, so closing the store does not close it."""
    server, _, name = url.rpartition("/")
    with pymongo.MongoClient(server) as client:
        options = {
            "client": {"uri": client, "database": name},
            "database": {"uri": client[name]},
            "database and name": {"uri": client[name], "database": None},
            "name beside a URI": {"uri": server, "database": name},
        }[kind]
        given = dict(options)

        store = MongoDBBackend(**options)
        store.record_entries([make_entry("a")])
        store.close()

        assert options == given
        assert store.options == given
        assert client[name]["tickets"].count_documents({}) == 1
        assert store.count_tickets() == 1
        store.close()


@pytest.mark.rule("MG-3")
def test_a_client_needs_the_name_of_a_database(url):
    """A client has no database of its own."""
    with pymongo.MongoClient(url) as client, pytest.raises(ValueError, match="pass database="):
        MongoDBBackend(uri=client)


def test_closing_closes_a_client_of_our_own(store):
    """Connections are given back, and the next use connects anew."""
    client = store.database.client

    store.close()

    with pytest.raises(pymongo.errors.InvalidOperation):
        client.admin.command("ping")
    assert store.count_tickets() == 0
    assert store.database.client is not client


def test_transactions_are_used_where_there_are_any(url, store):
    """A replica set has them, a single server does not, and neither has a capped collection."""
    is_set = "setName" in store.database.client.admin.command("hello")
    assert store._connection._has_transactions is is_set
    store.database.drop_collection("occurrences")
    store.database.create_collection("occurrences", capped=True, size=1_000_000)

    capped = MongoDBBackend(uri=url)

    assert capped._connection._has_transactions is False
    assert capped.record_entries([make_entry("a")])[0].event == "new"
    capped.close()


def test_a_forked_process_has_a_client_of_its_own(url):
    """The child counts, the parent goes on, and neither waits for the other's threads."""
    program = """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        sys.path.append(os.getcwd())
        from sprockets.logbook.ticketing import MongoDBBackend
        from tests.logbook.ticketing.contract import make_entry

        store = MongoDBBackend(uri=sys.argv[1])
        store.record_entries([make_entry("a", key="parent")])
        client = store.database.client
        child = os.fork()
        if child == 0:
            events = [one.event for one in store.record_entries([make_entry("a", key="child")])]
            is_own = store.database.client is not client
            store.close()
            os._exit(0 if is_own and events == ["again"] else 1)
        _, status = os.waitpid(child, 0)
        assert store.database.client is client
        print(status, store.record_entries([make_entry("a", key="parent again")])[0].count)
        store.close()
    """
    assert run_program(program, url) == "0 3"


# -- what is stored


@pytest.mark.rule("MG-2", "MG-8")
def test_the_documents_are_those_that_logbook_has(store, database):
    """Its fields with its types, in its collections; what is ours is beside them."""
    ticket_id = store.record_entries(
        [make_entry("a", time=START + timedelta(microseconds=123_456))]
    )[0].ticket_id

    ticket = database["tickets"].find_one()
    occurrence = database["occurrences"].find_one()

    assert ticket["_id"] == ticket_id
    assert isinstance(ticket_id, bson.ObjectId)
    moment = START + timedelta(milliseconds=123)
    assert {name: ticket[name] for name in ticket.keys() - {"_id", "status"}} == {
        "record_hash": hash_of("a"),
        "level": 13,
        "channel": "app",
        "location": "/srv/a.py:1",
        "module": "service.a",
        "app_id": "generic",
        "occurrence_count": 1,
        "solved": False,
        "last_occurrence_time": moment,
    }
    assert isinstance(occurrence["_id"], bson.ObjectId)
    assert occurrence["ticket_id"] == ticket_id
    assert occurrence["app_id"] == "generic"
    assert occurrence["time"] == moment
    assert json.loads(occurrence["data"])["msg"] == "a"


@pytest.mark.rule("MG-6")
def test_the_indexes_of_logbook_are_there(store, database):
    """Hashes are unique; ours are beside them."""
    tickets = database["tickets"].index_information()
    occurrences = database["occurrences"].index_information()

    assert tickets["record_hash_1"]["unique"]
    assert "solved_1_level_1" in tickets
    assert "time_-1" in occurrences
    assert occurrences["key_1"]["unique"]
    with pytest.raises(KeyError):
        store.get_tickets("status.state")


def test_who_wants_no_indexes_has_none_made(url, database):
    """Nor collections; what is written makes those."""
    store = MongoDBBackend(uri=url, autocreate_indexes=False)

    assert database.list_collection_names() == []
    store.close()


@pytest.mark.rule("MG-4")
def test_ids_may_be_passed_as_their_digits(store):
    """As they are in the address of a page."""
    a, b = [one.ticket_id for one in store.record_entries([make_entry("a"), make_entry("b")])]
    [occurrence] = store.get_occurrences(str(a))

    assert store.get_ticket(str(a)) == store.get_ticket(a)
    assert store.get_occurrence(str(occurrence.occurrence_id)).ticket_id == a
    assert store.get_counts([str(a)], START, START, "day") == {str(a): [1]}
    assert store.solve_ticket(str(a)) is True
    assert store.get_history(str(a))[0].action == "solved"
    assert store.merge_tickets(str(a), [str(b)]) is True
    with pytest.raises(ValueError):
        store.merge_tickets(str(a), [a])
    assert store.split_ticket(str(a), str(occurrence.occurrence_id)) is not None
    assert store.delete_ticket(str(a)) is True


@pytest.mark.rule("MG-7")
def test_times_are_kept_to_the_millisecond(store):
    """The row says so; the data has the microseconds."""
    time = START + timedelta(microseconds=999_999)
    data = json.dumps({"level": 13, "msg": "a", "time": "2026-03-01T12:00:00.999999Z"})
    store.record_entries([make_entry("a", time=time, data=data)])

    [ticket] = store.get_tickets()

    cut = START + timedelta(milliseconds=999)
    assert ticket.last_occurrence_time == cut
    assert ticket.last_occurrence_time.tzinfo is None
    assert ticket.last_occurrence.time == cut
    assert ".999999Z" in store.database["occurrences"].find_one()["data"]


@pytest.mark.rule("MG-8")
def test_solving_changes_nothing_but_the_state(store, database):
    """The document stays whole, and the ticket knows its id."""
    ticket_id = store.record_entries([make_entry("a")])[0].ticket_id
    before = database["tickets"].find_one()

    store.solve_ticket(ticket_id)

    after_it = database["tickets"].find_one()
    assert after_it["solved"] is True
    assert {**after_it, "solved": False, "status": None} == {**before, "status": None}
    assert store.get_ticket(ticket_id).ticket_id == ticket_id


def logbooks_ticket(name, **facts):
    """Return a document as Logbook makes them."""
    return {
        "_id": bson.ObjectId(),
        "record_hash": hash_of(name),
        "level": 13,
        "channel": "app",
        "location": "/srv/a.py:1",
        "module": f"service.{name}",
        "app_id": "generic",
        "occurrence_count": 2,
        "solved": False,
        "last_occurrence_time": START,
        **facts,
    }


def logbooks_occurrence(ticket_id, **facts):
    data = json.dumps({"level": 13, "msg": "old", "channel": "app"})
    return {"ticket_id": ticket_id, "app_id": "generic", "time": START, "data": data, **facts}


@pytest.fixture(name="old")
def _old(database, store):
    """What Logbook wrote: tickets a and b of two occurrences each, b solved."""
    tickets = [logbooks_ticket("a"), logbooks_ticket("b", solved=True, level=4)]
    database["tickets"].insert_many(tickets)
    database["occurrences"].insert_many(
        [logbooks_occurrence(ticket["_id"]) for ticket in tickets for _ in range(2)]
    )
    return [ticket["_id"] for ticket in tickets]


def test_what_logbook_wrote_is_read(store, old):
    """Tickets without a status are new or solved; occurrences have no details."""
    a, b = old

    assert [store.get_ticket(one).status.state for one in old] == ["new", "solved"]
    assert store.count_tickets() == 2
    assert [one.ticket_id for one in store.get_tickets(query=Query(states=("new",)))] == [a]
    assert [one.ticket_id for one in store.get_tickets(query=Query(states=("solved",)))] == [b]
    assert store.count_tickets(Query(assignees=("",))) == 2
    assert store.count_tickets(Query(levels=(13,))) == 2
    assert store.count_tickets(Query(min_level=13)) == 2
    assert store.count_tickets(Query(min_level=14)) == 0
    assert store.get_ticket(b).level_name == "WARNING"
    [first, _] = store.get_occurrences(a)
    assert first.message == "old"
    assert first.details.key is None
    assert store.get_history(a) == []
    assert store.get_values("channel") == ["app"]


def test_what_logbook_wrote_is_counted_on_and_changed(store, old):
    """Each method finds what it needs, or does without."""
    a, b = old

    outcomes = store.record_entries(
        [make_entry("a", time=after(hours=1)), make_entry("b", fingerprint=fingerprint_of("b"))]
    )

    assert [(one.event, one.count, one.ticket_id) for one in outcomes] == [
        ("again", 3, a),
        ("regressed", 3, b),
    ]
    assert store.get_ticket(a).status.title == "title of a"
    assert store.assign_ticket(a, "ann") is True
    assert store.get_ticket(a).status.state == "assigned"
    assert store.merge_tickets(a, [b]) is True
    assert store.get_ticket(a).occurrence_count == 6
    oldest = store.get_occurrences(a, "occurrence_id")[0]
    made = store.split_ticket(a, oldest.occurrence_id)
    # Of b, what Logbook wrote goes by the hash of the ticket that it is on.
    assert store.get_ticket(made).occurrence_count == 5
    assert store.get_ticket(a).occurrence_count == 1
    assert store.apply_retention(Retention(max_age=timedelta(0)), after(days=1)).occurrences == 6


def test_what_logbook_changes_is_noticed(store, database):
    """It sets ``solved``, and knows nothing of what is beside it."""
    a, b = [one.ticket_id for one in store.record_entries([make_entry("a"), make_entry("b")])]
    store.solve_ticket(a)
    database["tickets"].update_one({"_id": a}, {"$set": {"solved": False}})
    database["tickets"].update_one({"_id": b}, {"$set": {"solved": True}})

    assert store.get_ticket(a).status.state == "regressed"
    assert store.get_ticket(b).status.state == "solved"
    assert store.count_tickets(Query(states=("regressed",))) == 1
    assert [one.event for one in store.record_entries([make_entry("a"), make_entry("b")])] == [
        "again",
        "regressed",
    ]


@pytest.mark.rule("MG-5")
def test_a_hash_in_bytes_is_the_same_hash(store, database):
    """Logbook's later releases wrote bytes; they are found, shown as text, and left as they are."""
    database["tickets"].insert_one(logbooks_ticket("a", record_hash=hash_of("a").encode()))

    [outcome] = store.record_entries([make_entry("a")])

    assert (outcome.event, outcome.count) == ("again", 3)
    assert store.get_ticket(outcome.ticket_id).record_hash == hash_of("a")
    assert database["tickets"].find_one()["record_hash"] == hash_of("a").encode()
    assert store.record_entries([make_entry("b")])[0].event == "new"
    assert database["tickets"].find_one({"module": "service.b"})["record_hash"] == hash_of("b")


@pytest.mark.rule("MG-5")
def test_of_a_hash_in_both_forms_the_text_counts(store, database):
    """Ours, that is; the other is Logbook's to continue."""
    both = [logbooks_ticket("a"), logbooks_ticket("a", record_hash=hash_of("a").encode())]
    database["tickets"].insert_many(both)

    [outcome] = store.record_entries([make_entry("a")])

    assert outcome.ticket_id == both[0]["_id"]


def test_a_ticket_with_fields_missing_is_still_shown(store, database):
    """Somebody repaired something by hand."""
    database["tickets"].insert_one({"record_hash": hash_of("a")})
    database["occurrences"].insert_one({"ticket_id": 7, "data": None})

    [ticket] = store.get_tickets()

    assert (ticket.channel, ticket.location, ticket.module) == ("", "<unknown>:0", "<unknown>")
    assert ticket.occurrence_count == 0
    assert store.record_entries([make_entry("a")])[0].count == 1
    assert store.get_occurrence(database["occurrences"].find_one()["_id"]) is not None


def test_very_many_releases_are_forgotten_by_and_by(store, monkeypatch):
    """A ticket keeps the last in which it was seen: a thousand, here a hundred."""
    monkeypatch.setattr("sprockets.logbook.ticketing._mongodb_removing._MAX_RELEASES", 100)
    store.record_entries([make_entry("a", release=f"1.{number:04}") for number in range(110)])

    store.apply_retention(Retention())

    values = store.get_values("release", 2_000)
    assert len(values) == 100
    assert values[0] == "1.0010"


# -- what goes wrong


@pytest.mark.rule("MG-2")
def test_a_ticket_that_many_make_at_once_is_one(url):
    """Whoever comes second finds it; nobody sees the error of the index."""
    stores = [MongoDBBackend(uri=url) for _ in range(4)]

    for number in range(5):
        events = in_threads(
            4, lambda index, number=number: stores[index].record_entries([make_entry(f"{number}")])
        )
        assert sorted(one.event for [one] in events) == ["again"] * 3 + ["new"]

    assert [ticket.occurrence_count for ticket in stores[0].get_tickets()] == [4] * 5
    for store in stores:
        store.close()


@pytest.mark.rule("MG-2")
def test_a_duplicate_key_is_tried_again(store, monkeypatch):
    """Two upserts that meet are an error for one of them, once."""
    collection = type(store.database["tickets"])
    update_one = collection.update_one
    errors = [pymongo.errors.DuplicateKeyError("E11000 duplicate key", 11000)]

    def meet(self, *args, **kwargs):
        if errors:
            raise errors.pop()
        return update_one(self, *args, **kwargs)

    monkeypatch.setattr(collection, "update_one", meet)

    assert [one.event for one in store.record_entries([make_entry("a")])] == ["new"]
    assert errors == []
    assert [ticket.occurrence_count for ticket in store.get_tickets()] == [1]


@pytest.mark.rule("MG-9")
@pytest.mark.parametrize("command", ["find", "update", "findAndModify", "insert"])
def test_a_batch_that_fails_is_stored_when_it_comes_again(store, url, fail, command):
    """Every occurrence once; counts too high by the batch at most, without transactions."""
    store.record_entries([make_entry("a")])
    batch = [make_entry(name, fingerprint=fingerprint_of(name)) for name in "aabbc"]
    if store._connection._has_transactions and command == "findAndModify":
        command = "commitTransaction"  # tickets are counted on with updates there
    fail(command, 1)

    with pytest.raises(pymongo.errors.OperationFailure):
        store.record_entries(batch)
    fail(command, 0)
    events = [one.event for one in store.record_entries(batch)]

    assert "duplicate" not in events
    tickets = store.get_tickets("record_hash")
    stored = {one.module[-1]: len(one.get_occurrences()) for one in tickets}
    counted = {one.module[-1]: one.occurrence_count for one in tickets}
    assert stored == {"a": 3, "b": 2, "c": 1}
    if store._connection._has_transactions:
        assert counted == stored
    else:
        assert all(stored[one] <= counted[one] <= 2 * stored[one] for one in stored)


@pytest.mark.rule("MG-9", "TK-4")
@pytest.mark.parametrize("command", ["find", "update", "insert"])
def test_with_transactions_a_batch_that_fails_leaves_nothing(make_url, command):
    """No ticket, no count, no history."""
    url = make_url(REPLICA_SET)
    store = MongoDBBackend(uri=url)
    [old] = store.record_entries([make_entry("a")])
    admin = store.database.client.admin
    data = {"failCommands": [command], "errorCode": 8}
    # The first ones ask for keys, take turns, and write the history: these are in the middle.
    mode = {"skip": {"find": 3, "update": 3, "insert": 1}[command], "times": 1}
    admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})

    with pytest.raises(pymongo.errors.OperationFailure):
        store.record_entries(
            [make_entry(name, fingerprint=fingerprint_of(name)) for name in "aabbc"]
        )

    admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    [ticket] = store.get_tickets()
    assert ticket.occurrence_count == 1
    assert ticket.status.fingerprint is None
    assert [item.action for item in store.get_history(old.ticket_id)] == ["created"]
    assert store.get_counts([old.ticket_id], START, START, "day") == {old.ticket_id: [1]}
    assert store.database["occurrences"].count_documents({}) == 1
    store.close()


def test_a_mark_that_cannot_be_made_takes_nothing_with_it(store, monkeypatch):
    """What is stored is stored; the mark is counted as missing, and made with the next change."""
    mark = store.get_mark()
    collection = type(store.database["ticket_marks"])
    update_one = collection.update_one

    def refuse(self, *args, **kwargs):
        if self.name == "ticket_marks":
            raise pymongo.errors.AutoReconnect("gone")
        return update_one(self, *args, **kwargs)

    monkeypatch.setattr(collection, "update_one", refuse)
    assert store.record_entries([make_entry("a")])[0].event == "new"
    assert (store.missed_marks, store.get_mark()) == (1, mark)
    monkeypatch.undo()

    store.record_entries([make_entry("a")])
    assert store.get_mark() != mark


@pytest.mark.parametrize(
    "options",
    # What a transaction acknowledges, this server has on its disk only if it is told to.
    [(*REPLICA_SET, "--sync-on-commit"), STANDALONE],
    ids=["replica set", "single server"],
)
def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path, options):
    """Killed while it is written to, twice; what was not acknowledged is delivered again."""
    server = Server(tmp_path, *options)
    server.start()
    name = f"{server.url}/logs"
    store = MongoDBBackend(
        uri=name, client_options={"serverSelectionTimeoutMS": 200, "retryWrites": False}
    )
    batches = [[make_entry(f"t{(number + one) % 7}") for one in range(5)] for number in range(30)]
    failed = 0
    try:
        for number, batch in enumerate(batches):
            if number in (10, 20):
                server.kill()
                with pytest.raises(pymongo.errors.PyMongoError):
                    store.record_entries(batch)
                failed += 1
                server.start()
            store.record_entries(batch)
            if number % 10 == 5:
                # What was acknowledged, and comes again for want of an answer.
                assert {one.event for one in store.record_entries(batch)} == {"duplicate"}

        assert failed == 2
        tickets = store.get_tickets()
        assert len(tickets) == 7
        assert sum(len(ticket.get_occurrences()) for ticket in tickets) == 150
        assert sum(ticket.occurrence_count for ticket in tickets) == 150
    finally:
        store.close()
        server.kill()


# -- many processes

COUNTING = """
    import os, sys
    sys.path.append(os.getcwd())
    from sprockets.logbook.ticketing import MongoDBBackend
    from tests.logbook.ticketing.contract import make_entry

    url, index, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    store = MongoDBBackend(uri=url)
    print("ready", flush=True)
    sys.stdin.readline()
    for begin in range(0, number, 40):
        names = [f"t{(index * 7 + one) % 40}" for one in range(40)]
        store.record_entries(
            [make_entry(name, key=f"{index}-{begin}-{one}") for one, name in enumerate(names)]
        )
    store.close()
    print("done")
"""


def test_processes_that_start_together_count_together(url, store):
    """4 of them, 120 records each, on 40 tickets: none is lost, none counted twice."""
    command = [sys.executable, "-c", textwrap.dedent(COUNTING), url]
    processes = [
        subprocess.Popen(
            [*command, str(index), "120"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for index in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.communicate(timeout=120)[0] for process in processes] == ["done\n"] * 4
    finally:
        for process in processes:
            process.kill()
            process.communicate()

    tickets = store.get_tickets(limit=100)
    assert len(tickets) == 40
    assert [ticket.occurrence_count for ticket in tickets] == [12] * 40
    assert store.database["occurrences"].count_documents({}) == 480
