"""A shop that fails in many ways, and the tickets of it: real records, at the times one wants."""

import json
import random
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sprockets.eliot import add_destinations, remove_destination, start_action, start_task
from sprockets.eliot.logbook import ActionProcessor, StacksDestination
from sprockets.logbook import WARNING, Fields, FingersCrossedHandler, Logger, NestedSetup
from sprockets.logbook.ticketing import BackendBase, TicketingHandler

log = Logger("shop.orders")
payments = Logger("shop.payments")
stock = Logger("shop.stock")
mail = Logger("mail")

PAYLOADS = (
    "<script>window.hacked=1</script>",
    '<img src=x onerror="window.hacked=1">',
    "\"'><svg onload=window.hacked=1>",
    "{{ 1+1 }}{% raw x %}</title></textarea><script>window.hacked=1</script>",
    "javascript:window.hacked=1//",
)
SCRIPT = PAYLOADS[0] + PAYLOADS[1] + PAYLOADS[2]


class _Capture(BackendBase):
    """Keeps entries instead of storing them."""

    def setup_backend(self):
        self.entries = []

    def record_entries(self, entries):
        self.entries += entries
        return []


@contextmanager
def _capturing(release, environment, **options):
    """Count what is logged within, and hand out the entries."""
    handler = TicketingHandler(
        None,
        backend=_Capture,
        immediate=True,
        level="WARNING",
        grouping="fingerprint",
        in_app=["*/tests/tickets/pages/*"],
        release=release,
        environment=environment,
        **options,
    )
    stacks = StacksDestination("actions", {"failed": "INFO"})
    add_destinations(stacks)
    try:
        with NestedSetup(
            [FingersCrossedHandler(handler, action_level="WARNING"), ActionProcessor()]
        ):
            yield handler.db.entries
    finally:
        remove_destination(stacks)
        handler.close()


def _request(path, **fields):
    return Fields(method="POST", path=path, remote_ip="192.0.2.7", handler="shop.Orders", **fields)


# -- what goes wrong


class PaymentTimeout(Exception):
    pass


def _charge(amount):
    with start_action(action_type="bank:charge", amount=amount):
        payments.debug("asking the bank for {} EUR", amount)
        raise PaymentTimeout(f"the bank did not answer within {2.5} s")


def _pay(order):
    with start_action(action_type="order:pay", order=order):
        try:
            _charge(12.5)
        except PaymentTimeout as error:
            raise RuntimeError(f"order {order} is not paid") from error


def order_fails(request_id="4711", order=1201):
    """An order that cannot be paid: actions, records before, and a chain of exceptions."""
    with (
        _request("/orders", request_id=request_id),
        start_task(action_type="http:request", method="POST", path="/orders") as action,
    ):
        log.info("taking order {}", order, extra={"order": order, "items": 3})
        with start_action(action_type="order:reserve", sku="A-1") as reserve:
            stock.debug("{} left of {}", 5, "A-1")
            reserve.add_success_fields(left=4)
        try:
            _pay(order)
        except RuntimeError:
            log.exception(
                "cannot take order {}",
                order,
                extra={
                    "order": order,
                    "customer": {
                        "id": 77,
                        "name": "Jörg Müller",
                        "country": "DE",
                        "since": "2019-04-01",
                        "tags": ["gold", "newsletter"],
                    },
                },
            )
        action.add_success_fields(status=500)


def body_is_no_json(request_id="4712"):
    """Frames of the standard library, folded between ours."""
    with _request("/baskets", request_id=request_id):
        log.debug("a basket of {} bytes", 17)
        try:
            json.loads('{"sku": "A-1", }')
        except ValueError:
            log.exception("the basket is no JSON")


def stock_is_low(request_id=None):
    stock.warning("only {} left of {}", 2, "B-7", extra={"sku": "B-7"})


def mail_bounces(request_id=None):
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except ConnectionRefusedError:
        mail.exception("cannot send the receipt of order {}", 1187)


def coupon_is_unknown(request_id=None):
    try:
        {}["SPRING"]
    except KeyError:
        log.exception("coupon {!r} is gone", "SPRING")


def _depth(number):
    return _depth(number - 1) if number else 1 // 0


def price_is_wrong(request_id=None):
    try:
        _depth(5)
    except ZeroDivisionError:
        Logger("shop.prices").critical("a price cannot be computed", exc_info=True)


def session_expires(request_id=None):
    Logger("shop.sessions").warning("a session of user {} was not found", 4021)


def cache_is_slow(request_id=None):
    Logger("shop.cache").warning("the cache took {} ms", 870, extra={"took": 0.87})


def export_fails(request_id=None):
    try:
        try:
            raise PermissionError(13, "Permission denied", "/var/lib/shop/export.csv")
        except PermissionError:
            raise RuntimeError("the nightly export was not written") from None
    except RuntimeError:
        Logger("shop.export").exception("export failed")


def image_is_broken(request_id=None):
    try:
        raise ExceptionGroup("3 images", [ValueError("no PNG"), OSError("truncated")])
    except ExceptionGroup:
        Logger("shop.images").exception("images of {} are broken", "C-3")


def currency_is_unknown(request_id=None):
    try:
        raise LookupError("no rate for XAU")
    except LookupError:
        Logger("shop.prices").exception("cannot convert 12.50 EUR")


def everything_is_hostile(text=SCRIPT):
    """A record all of whose fields are an attack."""
    with Fields(request_id=f"r{text}", **{text: text, "key": {text: [text]}}):
        hostile = Logger(text)
        hostile.debug("before " + text, extra={"a": text})
        try:
            raise RuntimeError(text)
        except RuntimeError:
            hostile.exception(
                text, extra={"task_uuid": text, "task_level": [1], "message_type": text}
            )


# -- entries of it, at the times one wants


def entries_of(function, *arguments, release="1.4.2", environment="production", **options):
    """Return what a store is given when *function* is called."""
    with _capturing(release, environment, **options) as entries:
        function(*arguments)
    # What follows an escalation comes one by one, whatever its level.
    return [entry for entry in entries if entry.level >= WARNING]


def at(entry, time, key, *, slow=1, **changes):
    """Return *entry* as if it had happened at *time*, *slow* times as long after what led up to it."""

    def moved(data):
        moment = (
            time + (datetime.fromisoformat(data["time"]).replace(tzinfo=None) - entry.time) * slow
        )
        return {**data, "time": f"{moment.isoformat(timespec='microseconds')}Z"}

    data = moved(json.loads(entry.data))
    leading = entry.leading and [moved(each) for each in json.loads(entry.leading)]
    texts = {"data": json.dumps(data), "leading": leading and json.dumps(leading)}
    for old, new in (changes.pop("rewrite", None) or {}).items():
        texts = {name: text and text.replace(old, new) for name, text in texts.items()}
    return replace(entry, time=time, key=key, **texts, **changes)


SEED = "request-to-be-named"

SCENES = (
    # function, how often in each of the last 30 days (about), in the last 24 hours, releases
    (order_fails, 4, 38, ("1.4.1", "1.4.2")),
    (body_is_no_json, 9, 12, ("1.4.0", "1.4.2")),
    (price_is_wrong, 0, 3, ("1.4.2", "1.4.2")),
    (mail_bounces, 30, 64, ("1.3.9", "1.4.2")),
    (stock_is_low, 12, 15, ("1.3.9", "1.4.2")),
    (coupon_is_unknown, 2, 1, ("1.4.0", "1.4.1")),
    (session_expires, 55, 70, ("1.3.9", "1.4.2")),
    (cache_is_slow, 1, 6, ("1.4.2", "1.4.2")),
    (export_fails, 1, 1, ("1.4.0", "1.4.2")),
    (image_is_broken, 0.4, 0, ("1.4.1", "1.4.1")),
    (currency_is_unknown, 0.2, 0, ("1.4.0", "1.4.1")),
)


def seed(store, now, *, chance=7):
    """Fill *store* with a month of a shop; return the ids of its tickets by name of the failure."""
    draw = random.Random(chance)
    tickets = {}
    everything = []
    for function, daily, today, releases in SCENES:
        (entry, *_) = entries_of(
            function, *([SEED] if function in (order_fails, body_is_no_json) else [])
        )
        moments = []
        for day in range(29, 0, -1):
            wanted = (
                daily
                * draw.uniform(0.2, 1.8)
                * (0.3 if (now - timedelta(days=day)).weekday() > 4 else 1)
            )
            for _ in range(int(wanted + draw.random())):
                moments.append(now - timedelta(days=day, seconds=draw.uniform(0, 86_000)))
        for _ in range(today):
            moments.append(now - timedelta(seconds=86_000 * draw.betavariate(1.1, 2.4) + 40))
        if not moments:
            moments.append(now - timedelta(days=9))
        moments.sort()
        for number, moment in enumerate(moments):
            is_new = number * 2 > len(moments)
            request_id = UUID(int=draw.getrandbits(128), version=4).hex
            uuid = str(UUID(int=draw.getrandbits(128), version=4))
            changes = {}
            if entry.request_id:
                changes = {
                    "request_id": request_id,
                    "task_uuid": entry.task_uuid and uuid,
                    "rewrite": {SEED: request_id},
                }
                if entry.task_uuid:
                    changes["rewrite"][entry.task_uuid] = uuid
            everything.append(
                (
                    function.__name__,
                    at(
                        entry,
                        moment,
                        f"{function.__name__}-{number}",
                        slow=draw.uniform(700, 2500),
                        release=releases[is_new],
                        environment="production" if number % 5 else "staging",
                        **changes,
                    ),
                )
            )
    everything.sort(key=lambda each: each[1].time)
    for start in range(0, len(everything), 500):
        part = everything[start : start + 500]
        for (name, _), outcome in zip(
            part, store.record_entries([entry for _, entry in part]), strict=True
        ):
            tickets[name] = outcome.ticket_id
    return tickets


def live(store, tickets):
    """Have people work on the tickets of `seed`."""
    store.assign_ticket(tickets["order_fails"], "ann", actor="ben")
    store.comment_on_ticket(
        tickets["order_fails"],
        "The bank says they had an outage from 9:40 on.\nWe should retry once, and queue the order otherwise.",
        actor="ann",
    )
    store.solve_ticket(tickets["coupon_is_unknown"], actor="ann")
    store.solve_ticket(tickets["mail_bounces"], actor="ben")
    store.ignore_ticket(tickets["session_expires"], occurrences=1000, actor="ann")
    store.assign_ticket(tickets["export_fails"], "ben", actor="ann")
    store.solve_ticket(tickets["image_is_broken"], release="1.5.0", actor="ben")
