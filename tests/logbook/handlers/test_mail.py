"""Mail: what is written, to whom it goes, over which connection, and what becomes one mail."""

import base64
import datetime as dt
import email
import email.header
import email.policy
import re
import smtplib
import ssl
import sys
import threading
from email.mime.text import MIMEText

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sprockets.logbook import (
    DEBUG,
    ERROR,
    FingersCrossedHandler,
    Flags,
    GroupHandler,
    Handler,
    Logger,
    LogRecord,
    Processor,
    StringFormatter,
)
from sprockets.logbook.handlers._mail import GMailHandler, MailHandler
from sprockets.logbook.handlers._mail_message import clean, encode_header
from sprockets.logbook.handlers._remote import RemoteHandler

log = Logger("shop")


class Outbox(MailHandler):
    """Is its own connection, and keeps what is sent over it."""

    def __init__(self, *args, **options):
        self.sent = []
        self.closed = 0
        super().__init__(
            *(args or ("shop@example.com", ["ann@example.com", "ben@example.com"])),
            **{"immediate": True, **options},
        )

    def get_connection(self):
        return self

    def close_connection(self, con):
        assert con is self
        self.closed += 1

    def sendmail(self, from_addr, recipients, text):
        self.sent.append((from_addr, recipients, text))

    @property
    def texts(self):
        return [text for _, _, text in self.sent]

    @property
    def mails(self):
        return [parse(text) for text in self.texts]


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def parse(text):
    return email.message_from_string(text, policy=email.policy.default)


def record(msg="x", level=ERROR, **options):
    record = LogRecord("shop", level, msg, **options)
    record.heavy_init()
    return record


# -- the message


@pytest.mark.rule("MH-1", "MH-2", "P-F7")
def test_a_mail_has_the_headers_of_its_layout_and_the_rest_as_body():
    """The default layout is a table under the handler's subject."""
    handler = Outbox()
    with handler:
        log.error("no {}", "price")
    with Outbox(
        subject="Till",
        format_string="Subject: {handler.subject}!\nX-Shop : 7:1 \n\na\n{record.message}\n\nb",
    ) as other:
        log.error("no price")

    (mail,) = handler.mails
    assert mail["Subject"] == "Server Error in Application" == handler.subject
    assert re.search(r"Message type:       ERROR\n", handler.texts[0])
    assert re.search(r"Location:           \S*test_mail.py:\d+\n", handler.texts[0])
    assert mail.get_content().endswith("Message:\n\nno price\n")
    assert (other.mails[0]["Subject"], other.mails[0]["X-Shop"]) == ("Till!", "7:1")
    message = other.message_from_record(record("m"), 0)
    assert message.get_payload() == "a\r\nm\r\n\r\nb"


@pytest.mark.rule("MH-3", "P-C3")
def test_sender_date_and_recipients_are_added_once():
    """A layout that sets one of them keeps its own, as do other facts of the record."""
    layout = "From: Till {record.extra[till]} <till@example.com>\nDate: Sat, 21 Nov 2026 09:00:00 -0000\nX-Url: {record.extra[url]}\n\n{record.message}"
    with Outbox(format_string=layout) as own, Outbox(bubble=True) as usual:
        with Processor(lambda record: record.extra.update(till=4, url="/pay")):
            log.error("x")

    (mail,) = usual.mails
    for name in ("From", "Date", "To", "Message-ID", "Subject"):
        assert len(mail.get_all(name)) == 1
    assert mail["From"] == "shop@example.com"
    assert mail["To"] == "ann@example.com, ben@example.com"
    age = dt.datetime.now(dt.UTC) - mail["Date"].datetime
    assert abs(age) < dt.timedelta(minutes=1)
    (mail,) = own.mails
    assert mail.get_all("From") == ["Till 4 <till@example.com>"]
    assert mail.get_all("Date") == ["Sat, 21 Nov 2026 09:00:00 -0000"]
    assert mail["X-Url"] == "/pay"


BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0"]


@pytest.mark.rule("MH-4", "M11")
@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("formatter", [None, StringFormatter])
def test_text_in_a_header_stays_in_it(line_break, formatter):
    """Whatever `str.splitlines` takes for the end of a line, and control characters, become spaces."""
    layout = "Subject: {record.message}\nX-Last: 1\n\nbody"
    with Outbox(format_string=layout) as handler:
        if formatter:
            handler.formatter = formatter(layout)
        log.error("hi" + line_break + "Bcc: evil@example.com" + line_break * 2 + "evil body")

    (mail,) = handler.mails
    assert mail["Subject"] == clean("hi" + " " + "Bcc: evil@example.com" + " " * 2 + "evil body")
    assert "Bcc" not in mail
    assert mail["X-Last"] == "1"
    assert mail.get_content() == "body"


@pytest.mark.rule("MH-4")
def test_the_standard_way_of_building_a_mail_is_open_to_injection():
    """The control: formatted as a whole and split afterwards, the text becomes a header."""
    text = "Subject: {record.message}\n\nbody".format(record=record("hi\nBcc: evil@example.com"))
    head, _, body = text.partition("\n\n")
    mail = MIMEText(body)
    for line in head.splitlines():
        name, _, value = line.partition(":")
        mail[name] = value.strip()

    assert mail["Bcc"] == "evil@example.com"


@pytest.mark.rule("MH-4", "SF-6")
def test_text_of_a_formatter_of_your_own_is_taken_as_it_is():
    """It may set headers record by record; bytes are text as well."""
    with Outbox() as handler:
        handler.formatter = lambda record, handler: "Subject: a\nX-B: b\n\nSubject: c"
        log.error("x")
        handler.formatter = lambda record, handler: b"Subject: d\n\n\xe9"
        log.error("x")

    first, second = handler.mails
    assert (first["Subject"], first["X-B"], first.get_content()) == ("a", "b", "Subject: c")
    assert second["Subject"] == "d"
    assert second.get_content() == "\\xe9"


@pytest.mark.rule("MH-4", "MH-5")
def test_a_line_without_a_colon_begins_the_body():
    """So does one whose name is not in the layout; and a message without any layout is all body."""
    with Outbox(format_string="Subject: s\nno header\nX-No: no\n") as handler:
        log.error("x")
        handler.format_string = "{record.message}"
        log.error("Bcc: evil@example.com\n\nx")
        handler.format_string = None
        log.error("Bcc: evil@example.com\n\nx")
        handler.formatter = lambda record, handler: "Subject: s\nplain"
        log.error("x")

    contents = [
        (mail["Subject"], mail["Bcc"], mail.get_content().rstrip("\n")) for mail in handler.mails
    ]
    assert contents == [
        ("s", None, "no header\nX-No: no"),
        (None, None, "Bcc: evil@example.com\n\nx"),
        (None, None, "Bcc: evil@example.com\n\nx"),
        ("s", None, "plain"),
    ]


@pytest.mark.rule("MH-6")
def test_what_is_not_ascii_travels_encoded_in_headers():
    """As RFC 2047 has it, also for display names; host names as IDNA has it."""
    handler = Outbox("Jörg <j@bücher.example>", ["a@example.com"], subject="\xf8nicode")
    with handler:
        log.error("x")

    assert "Subject: =?utf-8?q?=C3=B8nicode?=\n" in handler.texts[0]
    assert handler.texts[0].isascii()
    assert handler.mails[0]["From"] == "Jörg <j@xn--bcher-kva.example>"


@pytest.mark.rule("MH-6")
def test_text_that_looks_encoded_is_shown_as_it_is():
    """A reader must not decode line breaks out of it."""
    disguised = "=?utf-8?q?hi=0D=0ABcc:_evil@example.com?="
    with Outbox(format_string="Subject: {record.message}\n\nx") as handler:
        log.error("{}", disguised)

    assert (
        str(
            email.header.make_header(
                email.header.decode_header(email.message_from_string(handler.texts[0])["Subject"])
            )
        )
        == disguised
    )
    assert handler.mails[0]["Subject"] == disguised
    assert handler.mails[0]["Bcc"] is None


@pytest.mark.rule("MH-7")
def test_an_ascii_body_stands_there_literally():
    """Long lines included, up to what a server must accept; beyond that it is encoded."""
    path = "/srv/" + "x" * 900
    with Outbox(format_string="Subject: s\n\n{record.message}") as handler:
        log.error("{}\n.\nFrom here\t= =3D ", path)
        log.error("{}", "y" * 2_000)

    assert path + "\n.\nFrom here\t= =3D " in handler.texts[0]
    assert "Content-Transfer-Encoding: 7bit" in handler.texts[0]
    assert max(map(len, handler.texts[1].splitlines())) <= 998
    assert handler.mails[1].get_content() == "y" * 2_000


@pytest.mark.rule("MH-7")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Viva la España", "Viva la España"),
        ("a\0b", "a\0b"),
        ("a\udc80b", "a\\udc80b"),
        ("\u2028\x1b[31m", "\u2028\x1b[31m"),
    ],
)
def test_any_text_arrives_in_the_body(text, shown):
    """What is not ASCII travels in base64, in UTF-8."""
    with Outbox(format_string="Subject: s\n\n{record.message}") as handler:
        log.error("{}", text)

    (mail,) = handler.mails
    head, _, data = handler.texts[0].partition("\n\n")
    assert mail.get_content_charset() == "utf-8"
    assert mail.get_content() == shown
    assert base64.b64decode(data).decode() == shown
    assert "Content-Transfer-Encoding: base64" in head


def test_a_megabyte_of_text_makes_a_mail():
    """A formatter may return as much; a message of that size is cut, as everywhere."""
    text = "äb" * 500_000
    with Outbox() as handler:
        handler.formatter = lambda record, handler: "Subject: big\n\n" + text
        log.error("x")
        handler.format_string = "Subject: {record.message}\n\n{record.message}"
        log.error("{}", text)

    assert handler.mails[0].get_content() == text
    assert len(handler.texts[1]) < 400_000
    assert max(map(len, handler.texts[1].splitlines())) <= 998


def test_a_layout_may_say_what_kind_of_text_it_is():
    """The character set and the encoding remain ours."""
    with Outbox(
        format_string="Content-Type: text/html; charset=latin1\nContent-Transfer-Encoding: 8bit\n\n<b>é</b>"
    ) as handler:
        log.error("x")

    (mail,) = handler.mails
    assert mail.get_content_type() == "text/html"
    assert mail.get_content() == "<b>é</b>"
    assert mail.get_all("Content-Transfer-Encoding") == ["base64"]


@pytest.mark.rule("MH-8")
def test_a_mail_says_how_many_were_suppressed():
    """At the end of the body, after an empty line; nothing if there were none."""
    handler = Outbox(format_string="Subject: s\n\nbody")
    assert handler.generate_mail(record(), 3).get_payload() == (
        "body\r\n\r\nThis message occurred additional 3 time(s) and was suppressed"
    )
    assert handler.generate_mail(record()).get_payload() == "body"


@pytest.mark.rule("MH-9")
def test_a_mail_ends_with_the_traceback():
    """Under the message, as it was raised."""
    with Outbox() as handler:
        try:
            raise ValueError("till\njammed")
        except ValueError:
            log.exception("x")

    content = handler.mails[0].get_content()
    assert "Message:\n\nx\n\nTraceback (most recent call last):\n" in content
    assert content.rstrip().endswith("ValueError: till\njammed")


# -- delivery


@pytest.mark.rule("MH-11", "MH-12", "MH-13", "MH-14")
def test_each_mail_has_a_connection_which_is_always_closed():
    """`sendmail` gets the sender, the recipients asked for by record, and text."""

    class ByLevel(Outbox):
        def get_recipients(self, record):
            return [f"{record.level_name.lower()}@example.com"]

    handler = ByLevel()
    with handler:
        log.error("a")
        log.warning("b")
        handler.sendmail = lambda *args: 1 / 0
        with Flags(errors="raise"), pytest.raises(ZeroDivisionError):
            log.error("c")

    assert [(sender, to, type(text)) for sender, to, text in handler.sent] == [
        ("shop@example.com", ["error@example.com"], str),
        ("shop@example.com", ["warning@example.com"], str),
    ]
    assert handler.mails[0]["To"] == "error@example.com"
    assert handler.closed == 3


@pytest.mark.rule("MH-12")
def test_closing_a_connection_never_fails():
    """There may be none, or one that is gone."""

    class Gone:
        def quit(self):
            raise smtplib.SMTPServerDisconnected("gone")

    handler = MailHandler("a@example.com", ["b@example.com"])
    handler.close_connection(None)
    handler.close_connection(Gone())
    handler.close()


@pytest.mark.rule("MH-11", "MH-13")
@pytest.mark.parametrize("immediate", [True, False])
def test_overridden_methods_mean_the_same_in_both_ways_of_delivery(immediate):
    """Messages, recipients and connections are the user's to change."""
    seen = []

    class Own(Outbox):
        def message_from_record(self, record, suppressed):
            mail = super().message_from_record(record, suppressed)
            mail["X-Own"] = "grün\nBcc: x"
            return mail

        def deliver(self, msg, recipients):
            seen.append((msg["Subject"], msg["X-Own"], recipients, msg.get_content()))
            super().deliver(msg, recipients)

    handler = Own(
        immediate=immediate,
        subject="ä" * 100,
        format_string="Subject: {handler.subject}\n\n{record.message}",
    )
    with handler:
        log.error("x ä")
    assert handler.flush()
    handler.close()

    assert isinstance(handler, RemoteHandler)
    assert seen == [("ä" * 100, "grün Bcc: x", ["ann@example.com", "ben@example.com"], "x ä")]
    assert handler.mails[0]["X-Own"] == "grün Bcc: x"
    assert handler.closed == 1


@pytest.mark.rule("MH-11")
def test_a_message_of_the_older_kind_is_delivered_too():
    """Overrides from before `EmailMessage` return what `MIMEText` makes, in its own encoding."""

    class Old(Outbox):
        def message_from_record(self, record, suppressed):
            mail = MIMEText("größer", "plain", "iso-8859-1")
            mail["Subject"] = "old"
            return mail

    with (
        Old() as handler,
        Old(immediate=False, bubble=True) as later,
        GroupHandler(Old(bubble=True)) as group,
    ):
        log.error("x")
        log.error("y")
    later.flush()
    later.close()

    assert [mail.get_content() for mail in handler.mails + later.mails] == ["größer"] * 4
    (mail,) = group.handler.mails
    assert mail.get_content().startswith("größer\r\n\r\n\r\nOther log records")


@pytest.mark.rule("MH-10")
def test_a_record_beyond_the_limit_is_not_mailed(monkeypatch):
    """The next mail of the same call tells how many there were."""
    clock = Clock()
    with Outbox(record_limit=1, record_delta=60, clock=clock) as handler:
        for seconds in (0, 1, 2, 61):
            clock.seconds = seconds
            log.error("x")

    first, second = handler.texts
    assert "additional" not in first
    assert "This message occurred additional 2 time(s) and was suppressed" in second


def test_what_exceeds_the_limit_of_mails_becomes_one_digest():
    """With the exact numbers, by call; and what was withheld last is told at the end."""
    clock = Clock()
    handler = Outbox(mail_limit=3, record_delta=60, clock=clock)
    with handler:
        for _ in range(10):
            log.error("a\nb")
            log.warning("b")
        clock.seconds = 61
        log.error("c")
        log.error("d")
        log.error("e {}", 1)
    handler.close()
    handler.close()

    subjects = [mail["Subject"] for mail in handler.mails]
    assert subjects[3:] == [
        "Server Error in Application: 17 log records not mailed",
        "Server Error in Application",
        "Server Error in Application",
        "Server Error in Application: 1 log records not mailed",
    ]
    digest = handler.mails[3].get_content()
    assert re.search(r"^ +8  ERROR  shop  \S+test_mail.py:\d+  a\\nb$", digest, re.MULTILINE)
    assert re.search(r"^ +9  WARNING  shop  \S+  b$", digest, re.MULTILINE)
    assert handler.sent[3][1] == ["ann@example.com", "ben@example.com"]
    assert handler.mails[6].get_content().rstrip().endswith("e 1")


def test_what_the_limit_of_a_call_withheld_last_is_told_at_the_end():
    """There is no later mail that could."""
    handler = Outbox(record_limit=1, clock=Clock())
    with handler:
        for _ in range(10_000):
            log.error("x")
    handler.close()

    _, digest = handler.mails
    assert digest["Subject"].endswith("9999 log records not mailed")


# -- the connection


@pytest.fixture(name="calls")
def _calls(monkeypatch):
    calls = []

    def fake(name):
        class FakeSMTP:
            def __init__(self, host, port, **options):
                calls.append((name, host, port, options))

            def __getattr__(self, name):
                return lambda *args, **options: calls.append((name, args, options))

        return FakeSMTP

    monkeypatch.setattr("smtplib.SMTP", fake("SMTP"))
    monkeypatch.setattr("smtplib.SMTP_SSL", fake("SMTP_SSL"))
    return calls


def connect(**options):
    handler = MailHandler("a@example.com", ["b@example.com"], **options)
    handler.get_connection()
    handler.close()
    return handler


@pytest.mark.rule("MH-15", "MH-18", "MH-19")
@pytest.mark.parametrize(
    ("server_addr", "options", "expected"),
    [
        (None, {}, ("SMTP", "127.0.0.1", 25)),
        (None, {"secure": True}, ("SMTP", "127.0.0.1", 587)),
        (None, {"secure": (), "starttls": False}, ("SMTP_SSL", "127.0.0.1", 465)),
        ("mail.example.com", {}, ("SMTP", "mail.example.com", 25)),
        ("ab", {}, ("SMTP", "ab", 25)),
        (("mail.example.com", 2525), {"secure": True}, ("SMTP", "mail.example.com", 2525)),
        (["mail.example.com", 2525], {"starttls": False}, ("SMTP", "mail.example.com", 2525)),
    ],
)
def test_host_and_port_follow_from_address_and_security(server_addr, options, expected, calls):
    """TLS has nothing to do with credentials, and no attempt is made to do without."""
    connect(server_addr=server_addr, timeout=7.0, **options)

    assert calls[0][:3] == expected
    assert calls[0][3]["timeout"] == 7.0
    commands = [call[0] for call in calls[1:]]
    assert commands == (
        ["starttls", "ehlo"] if options.get("secure") and options.get("starttls", True) else []
    )


@pytest.mark.rule("MH-17")
@pytest.mark.parametrize("secure", [None, True])
def test_credentials_are_arguments_of_login(secure, calls):
    """In order or by name, with TLS or without."""
    connect(credentials=("me", "secret"), secure=secure)
    connect(credentials={"user": "me", "password": "secret"}, secure=secure)
    connect(secure=secure)

    assert [call for call in calls if call[0] == "login"] == [
        ("login", ("me", "secret"), {}),
        ("login", (), {"user": "me", "password": "secret"}),
    ]


@pytest.mark.rule("MH-16", "MH-20", "P-H12")
def test_tls_verifies_the_server_unless_a_context_says_otherwise(calls):
    """The context of the caller is used as it is."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    connect(secure=own)
    connect(secure=True)
    connect(secure=(), starttls=False)

    contexts = [call[-1]["context"] for call in calls if "context" in call[-1]]
    assert contexts[0] is own
    for context in contexts[1:]:
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


@pytest.mark.rule("MH-16", "MH-20")
def test_files_of_a_certificate_are_deprecated_and_verify_too(calls, monkeypatch):
    """As a pair or by name; the warning points at the caller."""
    loaded = []
    monkeypatch.setattr(
        ssl.SSLContext,
        "load_cert_chain",
        lambda self, *args: loaded.append((self.verify_mode, *args)),
    )
    for secure in (("key.pem", "cert.pem"), {"keyfile": "key.pem", "certfile": "cert.pem"}):
        with pytest.warns(DeprecationWarning, match="pass an ssl.SSLContext") as warned:
            handler = MailHandler("a@example.com", ["b@example.com"], secure=secure)
        assert warned[0].filename == __file__
        handler.get_connection()

    assert loaded == [(ssl.CERT_REQUIRED, "cert.pem", "key.pem")] * 2


@pytest.mark.rule("MH-16")
@pytest.mark.parametrize(
    "options", [{"secure": "yes"}, {"secure": 3}, {"server_addr": 25}, {"server_addr": ("a", 1, 2)}]
)
def test_nonsense_is_refused_at_once(options):
    """Before there is an engine that would have to be closed."""
    with pytest.raises(TypeError, match=r"must be"):
        MailHandler("a@example.com", ["b@example.com"], **options)


@pytest.mark.rule("MH-27")
def test_gmail_is_a_server_like_any_other(calls):
    """Its account is sender and login; what else there is, is for the mail handler."""
    handler = GMailHandler(
        "me@gmail.com", "secret", ["b@example.com"], level="ERROR", subject="s", timeout=3
    )
    handler.get_connection()
    handler.close()

    assert (handler.from_addr, handler.level_name, handler.subject) == (
        "me@gmail.com",
        "ERROR",
        "s",
    )
    assert calls[0][:3] == ("SMTP", "smtp.gmail.com", 587)
    assert [call[0] for call in calls[1:]] == ["starttls", "ehlo", "login"]
    assert calls[3][1] == ("me@gmail.com", "secret")


# -- batches


@pytest.mark.rule("MH-21", "MH-22", "MH-26")
def test_what_led_up_to_an_error_is_in_its_mail():
    """The error comes first, with its own layout; the others follow in order."""
    mail = Outbox()
    with FingersCrossedHandler(mail, reset=True):
        log.warning("one")
        log.debug("two")
        log.error("three")
        log.info("four")
        log.error("five")

    first, second = mail.texts
    body, _, related = first.partition("\n\n\nLog records that led up to this one:\n\n")
    assert "Message type:       ERROR" in body
    assert body.endswith("three\n")
    texts = related.rstrip("\n").split("\n\n")
    assert [re.match("Message type: +(.*)", text)[1] for text in texts] == ["WARNING", "DEBUG"]
    assert [text.splitlines()[-1] for text in texts] == ["one", "two"]
    assert "four" in second.partition("led up to this one")[2]


@pytest.mark.rule("MH-21", "MH-22", "GH-4")
def test_a_group_is_one_mail_with_its_first_record_on_top():
    """A second binding is a second mail."""
    mail = Outbox(
        format_string="Subject: {record.message}\n\nmain",
        related_format_string="<{record.message}>  \n",
    )
    group = GroupHandler(mail)
    for _ in range(2):
        with group:
            log.error("one")
            log.info("two")
            log.info("three")

    assert len(mail.sent) == 2
    assert mail.mails[0]["Subject"] == "one"
    assert (
        mail.mails[0].get_content()
        == "main\n\n\nOther log records in the same group:\n\n<two>\n\n<three>"
    )


@pytest.mark.rule("MH-22", "MH-23", "GH-5")
def test_an_empty_group_sends_nothing_and_a_single_record_is_a_plain_mail():
    """Nothing is said of others where there are none."""
    mail = Outbox()
    with GroupHandler(mail):
        pass
    with GroupHandler(mail):
        log.error("x")

    (text,) = mail.texts
    assert "Other log records" not in text


@pytest.mark.rule("MH-23")
def test_the_limit_of_a_batch_is_that_of_its_significant_record():
    """The others are not counted."""
    mail = Outbox(record_limit=1)
    with FingersCrossedHandler(mail, reset=True):
        for _ in range(3):
            log.warning("w")
            log.error("e")

    (text,) = mail.texts
    assert "led up to" in text
    assert mail.check_delivery(record("other"))[1]


@pytest.mark.rule("MH-24")
def test_level_and_filter_have_no_say_in_a_batch():
    """What belongs together stays together."""
    mail = Outbox(level="CRITICAL", filter=lambda record, handler: False)
    mail.emit_batch(iter([record("a"), record("b", level=DEBUG)]), "group")

    assert "\nb" in mail.texts[0]


@pytest.mark.rule("MH-25")
@pytest.mark.parametrize("reason", ["buffer", "something new"])
def test_a_batch_for_another_reason_is_a_mail_for_each(reason):
    """They were merely collected."""
    mail = Outbox()
    mail.emit_batch(iter([record("a"), record("b")]), reason)

    assert len(mail.sent) == 2


def test_the_layout_of_related_records_is_set_like_that_of_a_handler():
    """``None`` writes plain messages; another formatter has no layout."""
    mail = Outbox(related_format_string="<{record.message}>")
    assert (mail.related_format_string, mail.format_related_record(record("a"))) == (
        "<{record.message}>",
        "<a>",
    )
    mail.related_format_string = None
    assert (mail.related_format_string, mail.format_related_record(record("a"))) == (None, "a")
    mail.related_formatter = lambda record, handler: 7
    assert (mail.related_format_string, mail.format_related_record(record("a"))) == (None, "7")


# -- its life


def test_closing_twice_is_closing_once():
    """Also of one that is half made."""
    handler = MailHandler("a@example.com", ["b@example.com"], record_limit=1)
    handler.close()
    handler.close()
    MailHandler.__new__(MailHandler).close()


def test_a_failure_to_make_a_mail_is_the_handlers():
    """The record counts as handled."""

    class Failing(Outbox):
        def message_from_record(self, record, suppressed):
            raise ValueError("no mail")

    with Failing(immediate=False) as handler, Flags(errors="raise"):
        with pytest.raises(ValueError, match="no mail"):
            log.error("x")
    handler.close()


def test_importing_the_library_does_not_import_mail(tmp_path):
    """It is for those who use it."""
    import subprocess

    program = "import sys, sprockets.logbook; print([name for name in sys.modules if name in ('email', 'smtplib', 'ssl')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"


def test_headers_are_folded_at_single_spaces():
    """No line looks empty, none is longer than it may be, and the text comes back."""
    for text in ("word " * 100 + "end", "a" * 2_000, "a  " * 60, "ü" * 500, "", "x " + "y" * 890):
        lines = encode_header("Subject", text).split("\n")
        assert max(map(len, lines)) <= 998
        assert all(line.strip() for line in lines[1:])
        assert parse(f"Subject: {encode_header('Subject', text)}\n\n")["Subject"] == text.strip()


def test_a_forked_child_counts_anew():
    """What was withheld before is the parent's to tell; a lock held by another thread is not inherited."""
    handler = Outbox(record_limit=1, mail_limit=1, clock=Clock())
    with handler:
        for _ in range(3):
            log.error("x")
        log.error("y")
    holder = threading.Thread(target=handler._limit_lock.acquire)
    holder.start()
    holder.join()
    handler.before_fork()
    handler.after_fork_in_parent()
    handler.after_fork_in_child()
    handler.close()

    assert len(handler.sent) == 1


def test_what_fails_in_the_last_digest_is_reported_and_the_rest_is_closed(capsys):
    """Closing is closing."""
    handler = Outbox(record_limit=1, clock=Clock())
    with handler:
        for _ in range(2):
            log.error("x")
    handler.get_connection = lambda: 1 / 0
    assert handler.close()

    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_digest_lists_so_many_calls_and_counts_the_rest():
    """A storm from everywhere does not make a mail without end."""
    handler = Outbox(mail_limit=0, clock=Clock())
    for number in range(150):
        one = record()
        one.lineno = number
        handler.handle(one)
    handler.close()

    (digest,) = handler.mails
    assert digest["Subject"].endswith("150 log records not mailed")
    assert re.search(r"^ +50  of other calls$", digest.get_content(), re.MULTILINE)
    assert len(digest.get_content().splitlines()) < 110


def test_an_override_that_returns_a_mail_in_parts_gets_related_records_into_its_text():
    """Attachments stay attached."""

    class Parted(Outbox):
        def message_from_record(self, record, suppressed):
            mail = super().message_from_record(record, suppressed)
            mail.add_attachment(b"zip", maintype="application", subtype="zip", filename="a.zip")
            return mail

    handler = Parted()
    with GroupHandler(handler):
        log.error("one")
        log.error("two")

    (mail,) = handler.mails
    assert "Other log records" in mail.get_body().get_content()
    assert [part.get_content() for part in mail.iter_attachments()] == [b"zip"]


@pytest.mark.rule("MH-4", "MH-6")
@given(text=st.text(st.characters(), max_size=300))
@example(text="=?utf-8?q?=0D=0ABcc:_x?=")
@example(text="a\r\n b \u2028  c")
def test_the_text_of_a_header_comes_back(text):
    """What a reader decodes is what was put there, but for line breaks and control characters."""
    mail = email.message_from_string(
        f"X-A: 1\nX-Text: {encode_header('X-Text', text)}\nX-B: 2\n\nbody"
    )

    assert mail.keys() == ["X-A", "X-Text", "X-B"]
    decoded = email.header.decode_header(mail["X-Text"].replace("\n ", " ").strip(" "))
    assert str(email.header.make_header(decoded)) == clean(text)


def test_it_is_a_handler():
    """Which can be bound, and repeats itself to nobody."""
    assert issubclass(MailHandler, Handler)
    assert "secret" not in repr(MailHandler("a@example.com", [], credentials=("a", "secret")))
