"""What the page about error trackers says of Sentry's client and of our tickets is so."""

from pathlib import Path

import pytest

from sprockets.logbook import Logger

CARD = "4111-1111-1111-1111"


def _pay() -> None:
    card = CARD
    raise ValueError(f"a card of {len(card)} characters is refused")


def test_the_client_of_sentry_sends_the_values_of_variables():
    """Unless it is told not to."""
    sentry_sdk = pytest.importorskip("sentry_sdk")
    transport = pytest.importorskip("sentry_sdk.transport")
    sent = []

    class Keeping(transport.Transport):  # type: ignore[misc,name-defined]  # may not be installed
        def capture_envelope(self, envelope):
            sent.append(envelope)

    client = sentry_sdk.Client(
        "http://key@127.0.0.1:9/1", transport=Keeping, default_integrations=False
    )
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        try:
            _pay()
        except ValueError:
            sentry_sdk.capture_exception()
    client.close(0)

    event = sent[0].get_event()
    frame = event["exception"]["values"][0]["stacktrace"]["frames"][-1]
    assert CARD in str(frame["vars"])


def test_the_client_of_sentry_has_room_for_a_hundred_events():
    """Which wait for its thread."""
    consts = pytest.importorskip("sentry_sdk.consts")

    assert consts.DEFAULT_QUEUE_SIZE == 100


def test_a_ticket_keeps_no_values_of_variables(tmp_path: Path):
    """Its traceback has the lines, as Python prints them."""
    pytest.importorskip("sqlalchemy")
    from sprockets.logbook.ticketing import TicketingHandler

    handler = TicketingHandler(f"sqlite:///{tmp_path}/tickets.db", level="ERROR")
    with handler:
        try:
            _pay()
        except ValueError:
            Logger("shop").exception("not paid")
    (ticket,) = handler.db.get_tickets()
    occurrence = ticket.last_occurrence
    handler.close()
    handler.db.close()

    assert "in _pay" in occurrence.formatted_exception
    assert CARD not in str(occurrence.to_dict(json_safe=True))
    assert not any(CARD.encode() in path.read_bytes() for path in tmp_path.iterdir())
