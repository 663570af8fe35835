"""Handlers that send mail.

A record becomes a message in the thread that logs; another thread brings it to the server, however
long that takes.
"""

from __future__ import annotations

import contextlib
import json
import smtplib
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from email.utils import formatdate
from threading import RLock
from time import monotonic
from uuid import uuid4

from sprockets.logbook import _caller, _fork
from sprockets.logbook._format import (
    MAIL_FORMAT_STRING,
    MAIL_RELATED_FORMAT_STRING,
    StringFormatter,
    StringFormatterHandlerMixin,
)
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias
from sprockets.logbook.delivery import PermanentError, Retry
from sprockets.logbook.handlers._base import BatchReason, Filter
from sprockets.logbook.handlers._limits import LimitingHandlerMixin
from sprockets.logbook.handlers._mail_digest import Digest, Kind, Withheld
from sprockets.logbook.handlers._mail_message import (
    CRLF,
    POLICY,
    MailFormatter,
    body_of,
    body_part,
    mail_formatter,
    make_message,
    set_body,
    split_text,
)
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.handlers._smtp import (
    Secure,
    ServerAddress,
    checked_address,
    checked_secure,
    host_and_port,
    make_context,
    timed,
)
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    from sprockets.logbook.delivery import Policy, Spool

_caller.register(__file__)

Recipients: TypeAlias = "str | Sequence[str]"

# A server that makes senders it does not know wait wants them back after some minutes.
_RETRY: Final = Retry(maximum=60.0, attempts=30)
_CLOSING: Final = 421
"""The server is about to shut down, and says nothing of the mail."""
_TITLES: Final[Mapping[str, str]] = {
    "escalation": "Log records that led up to this one",
    "group": "Other log records in the same group",
}


class MailHandler(RemoteHandler, StringFormatterHandlerMixin, LimitingHandlerMixin):
    """Mails each record; a batch that belongs together is one mail.

    The lines of the layout up to the first empty one are headers, the rest is the body.  Nothing
    a record says becomes a header or a recipient.

    The logging call makes the message and hands it over; a thread delivers it, tries again what
    the server refuses for the time being, and drops nothing without counting it.  After a
    connection that broke at the wrong moment a mail may arrive twice, with the same
    ``Message-ID``.

    Args:
        from_addr: The sender.
        recipients: Who gets the mail.
        subject: What the default layout has as subject; ``None`` means :attr:`default_subject`.
        server_addr: Host, or host and port; ``None`` is this machine.  The default port is 25, or
            with *secure* 587, or 465 without *starttls*.
        credentials: User name and password, or the keyword arguments of ``smtplib.SMTP.login``.
        secure: ``True`` for TLS with a server whose certificate is verified, or a context of your
            own.  A pair of key file and certificate file, or a mapping with ``keyfile`` and
            ``certfile``, is deprecated.
        record_limit: Mails per call and window; the next one says how many were suppressed.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a mail; ``None`` means :attr:`default_format_string`.
        related_format_string: Layout of the other records of a batch; ``None`` means
            :attr:`default_related_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        starttls: Begin in plain text and change to TLS; ``False`` begins with TLS.
        timeout: Seconds that connecting, and the answer to each command, may take.
        mail_limit: Mails per window of *record_delta*, of whatever records; what exceeds it
            becomes one digest with the exact numbers.  It is sent with the next record after the
            window, by :meth:`flush` and by :meth:`close`.
        immediate: Deliver in the thread that logs, which waits; errors are the handler's.
        capacity: Mails that wait at most.
        max_bytes: Bytes of mail that wait at most.
        policy: What to do if there is no room for another.
        block_timeout: Seconds the logging call waits for room at most.
        retry: When to try again; ``None`` goes on for about twenty minutes with a mail that the
            server does not want for the time being, and for ever if there is no server.
        spool: Where mails wait on disk.
        drain_timeout: Seconds :meth:`close` waits at most for what is still to be delivered.
        clock: Returns the current time in seconds; never goes backwards.

    Raises:
        TypeError: *secure* or *server_addr* is nothing of the above.
    """

    default_format_string: ClassVar[str] = MAIL_FORMAT_STRING
    default_related_format_string: ClassVar[str] = MAIL_RELATED_FORMAT_STRING
    default_subject: ClassVar[str] = "Server Error in Application"
    formatter_class: ClassVar[Callable[[str], Any]] = MailFormatter

    from_addr: str
    recipients: Recipients
    subject: str
    server_addr: ServerAddress
    credentials: Sequence[str] | Mapping[str, str] | None
    secure: Secure
    starttls: bool
    timeout: float
    mail_limit: int | None
    related_formatter: Any

    def __init__(
        self,
        from_addr: str,
        recipients: Recipients,
        subject: str | None = None,
        server_addr: str | tuple[str, int] | None = None,
        credentials: Sequence[str] | Mapping[str, str] | None = None,
        secure: Secure = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        format_string: str | None = None,
        related_format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
        starttls: bool = True,
        *,
        timeout: float = 10.0,
        mail_limit: int | None = None,
        immediate: bool = False,
        capacity: int = 10_000,
        max_bytes: int = 8 << 20,
        policy: Policy = "drop_oldest",
        block_timeout: float = 0.005,
        retry: Retry | None = None,
        spool: Spool | None = None,
        drain_timeout: float = 5.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        RemoteHandler.__init__(
            self,
            level,
            filter,
            bubble,
            capacity=capacity,
            max_bytes=max_bytes,
            policy=policy,
            block_timeout=block_timeout,
            batch_size=1,
            retry=retry or _RETRY,
            spool=spool,
            drain_timeout=drain_timeout,
            immediate=immediate,
        )
        StringFormatterHandlerMixin.__init__(self, format_string)
        LimitingHandlerMixin.__init__(self, record_limit, record_delta, clock)
        self.from_addr = from_addr
        self.recipients = recipients
        self.subject = self.default_subject if subject is None else subject
        self.server_addr = checked_address(server_addr)
        self.credentials = credentials
        self.secure = checked_secure(secure)
        self.starttls = starttls
        self.timeout = timeout
        self.mail_limit = mail_limit
        if related_format_string is None:
            related_format_string = self.default_related_format_string
        self.related_format_string = related_format_string
        self._context: ssl.SSLContext | None = None
        # The mail tried last, and who has not got it yet; only the engine's thread looks at it.
        self._rest: tuple[bytes, list[str]] = (b"", [])
        self._mails_since = clock()
        self._mails = 0
        self._unmailed = 0
        self._withheld = Withheld(self.max_record_cache)
        self._held_at_fork = False
        _fork.hold_at_fork(self)
        self._delivery.on_closing = self._say_last
        self.ready(MailHandler)

    # -- what is written

    @property
    def related_format_string(self) -> str | None:
        """The layout of the other records of a batch; ``None`` if it is not a layout that says it.

        Setting ``None`` has their plain messages written.
        """
        formatter = self.related_formatter
        return formatter.format_string if isinstance(formatter, StringFormatter) else None

    @related_format_string.setter
    def related_format_string(self, value: str | None) -> None:
        self.related_formatter = None if value is None else StringFormatter(value)

    def get_recipients(self, record: LogRecord) -> Recipients:
        """Return who gets the mail of *record*; of a batch, the significant one is asked about."""
        return self.recipients

    def format(self, record: LogRecord) -> Any:
        """Return *record* as text: headers, an empty line, and the body."""
        formatter = self.formatter
        if type(formatter) is StringFormatter:
            return mail_formatter(formatter.format_string)(record, self)
        return super().format(record)

    def format_related_record(self, record: LogRecord) -> str:
        """Return the text of a record that is not the significant one of its batch."""
        if self.related_formatter is None:
            return message_of(record)
        return str(self.related_formatter(record, self))

    def message_from_record(self, record: LogRecord, suppressed: int) -> Message:
        """Return the message of *record*, without sender and date.

        Args:
            record: What the message says.
            suppressed: How many like it were suppressed before; the message says so if there are.
        """
        text = self.format(record)
        if isinstance(text, bytes):
            text = text.decode("utf-8", "backslashreplace")
        headers, body = ([], str(text)) if self.formatter is None else split_text(str(text))
        if suppressed:
            body += (
                f"{CRLF}{CRLF}This message occurred additional {suppressed} time(s) "
                "and was suppressed"
            )
        return make_message(headers, body)

    def generate_mail(self, record: LogRecord, suppressed: int = 0) -> Message:
        """Return the mail of *record*, complete: with sender, date and recipients."""
        mail = self.message_from_record(record, suppressed)
        self._complete(mail, self.get_recipients(record))
        return mail

    def _complete(self, mail: Message, recipients: Recipients) -> None:
        domain = self.from_addr.rpartition("@")[2].strip(" <>")
        headers = {
            "From": self.from_addr,
            "To": ", ".join(_as_list(recipients)),
            "Date": formatdate(usegmt=True),
            # Not `email.utils.make_msgid`, which may wait for the name service.
            "Message-ID": f"<{uuid4().hex}@{domain if domain.isascii() else 'localhost'}>",
            # "indicates that a message was generated by an automatic process" -- RFC 3834, 5
            "Auto-Submitted": "auto-generated",
        }
        for name, value in headers.items():
            if name not in mail and value:
                mail[name] = value

    def collapse_mails(self, mail: Message, related: list[str], reason: BatchReason) -> Message:
        """Return *mail* with the texts of the *related* records added to its body."""
        if not related:
            return mail
        part = body_part(mail)
        title = _TITLES.get(reason, _TITLES["group"])
        texts = (CRLF * 2).join(text.rstrip() for text in related)
        set_body(part, f"{body_of(part)}{CRLF * 3}{title}:{CRLF * 2}{texts}")
        return mail

    # -- which records

    def emit(self, record: LogRecord) -> None:
        """Mail *record*, unless there have been too many like it."""
        suppressed, is_admitted = self._admit(record)
        if is_admitted:
            self._send(self.generate_mail(record, suppressed), self.get_recipients(record))

    def emit_batch(self, records: Iterable[LogRecord], reason: BatchReason) -> None:
        """Mail *records*: together if they belong together, else each.

        Args:
            records: May be a one-shot iterator; if there are none, there is no mail.
            reason: ``"escalation"``: the last is the significant one.  ``"group"``: the first is.
        """
        if reason not in _TITLES:
            super().emit_batch(records, reason)
            return
        others = list(records)
        if not others:
            return
        record = others.pop(-1 if reason == "escalation" else 0)
        suppressed, is_admitted = self._admit(record)
        if is_admitted:
            mail = self.generate_mail(record, suppressed)
            related = [self.format_related_record(other) for other in others]
            self._send(self.collapse_mails(mail, related, reason), self.get_recipients(record))

    def _admit(self, record: LogRecord) -> tuple[int, bool]:
        """Return how many like *record* were suppressed, and whether to mail this one."""
        if self.record_limit is None and self.mail_limit is None:
            return 0, True
        suppressed, is_admitted = 0, True
        if self.record_limit is not None:
            suppressed, is_admitted = self.check_delivery(record)
            self._note(record, is_told=is_admitted)
        if not is_admitted or self.mail_limit is None:
            return suppressed, is_admitted
        with self._limit_lock:
            now = self._clock()
            digests: list[Digest] = []
            if now - self._mails_since > self.record_delta.total_seconds():
                digests = self._withheld.take()
                self._mails_since, self._mails = now, len(digests)
            is_admitted = self._mails < self.mail_limit
            if is_admitted:
                self._mails += 1
            else:
                self._unmailed += 1
                kind = self._kind_of(record, suppressed + 1)
                self._withheld.withhold(self.hash_record(record), kind)
        for digest in digests:
            self._send(self._digest_mail(digest), list(digest.recipients))
        return suppressed, is_admitted

    def _note(self, record: LogRecord, *, is_told: bool) -> None:
        key = self.hash_record(record)
        with self._limit_lock:
            if is_told:
                self._withheld.note_told(key)
            else:
                self._unmailed += 1
                self._withheld.note_untold(key, lambda: self._kind_of(record))

    def _kind_of(self, record: LogRecord, count: int = 1) -> Kind:
        return Kind(record, tuple(_as_list(self.get_recipients(record))), count)

    def _digest_mail(self, digest: Digest) -> Message:
        headers = [("Subject", f"{self.subject}: {digest.total} log records not mailed")]
        mail = make_message(headers, digest.text)
        self._complete(mail, digest.recipients)
        return mail

    # -- delivery

    def encode(self, record: LogRecord) -> bytes:
        """Return the mail of *record* as it waits for delivery: its recipients, then its text."""
        return _to_bytes(self.generate_mail(record), _as_list(self.get_recipients(record)))

    def _send(self, mail: Message, recipients: Recipients) -> None:
        if self.immediate:
            self.deliver(mail, recipients)
        else:
            self._delivery.put(_to_bytes(mail, _as_list(recipients)))

    def _deliver(self, items: list[bytes]) -> None:
        (item,) = items
        mail, recipients = _from_bytes(item)
        if self._rest[0] == item:
            # Tried before, and some of the recipients have it.
            recipients = self._rest[1]
        self._rest = (item, recipients)
        try:
            self.deliver(mail, recipients)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
            waiting = [name for name in recipients if name in refused and refused[name][0] < 500]
            if not waiting:
                raise PermanentError(f"refused: {refused!r}") from error
            self._rest = (item, waiting)
            raise _NotNowError(f"refused for now: {refused!r}") from error
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            if error.smtp_code >= 500:
                raise PermanentError(str(error)) from error
            if error.smtp_code != _CLOSING:
                raise _NotNowError(str(error)) from error
            raise

    def deliver(  # type: ignore[override]  # what it is given is a mail
        self, msg: Message, recipients: Recipients
    ) -> None:
        """Bring *msg* to the server, over a connection of its own.

        Runs in the engine's thread, or with ``immediate`` in the caller's.

        Raises:
            OSError: The server cannot be reached, or refuses: the errors of ``smtplib``.
        """
        con = self.get_connection()
        try:
            refused = con.sendmail(self.from_addr, recipients, msg.as_string())
        finally:
            self.close_connection(con)
        if refused:
            raise smtplib.SMTPRecipientsRefused(refused)

    def get_connection(self) -> smtplib.SMTP:
        """Return a connection to the server, logged in if there are credentials."""
        host, port = host_and_port(
            self.server_addr, secure=bool(self.secure), starttls=self.starttls
        )
        con: smtplib.SMTP
        if self.secure and not self.starttls:
            con = timed(smtplib.SMTP_SSL, self.timeout)(host, port, context=self._tls())
        else:
            con = timed(smtplib.SMTP, self.timeout)(host, port)
        try:
            if self.secure and self.starttls:
                con.starttls(context=self._tls())
                con.ehlo()
            if isinstance(self.credentials, Mapping):
                con.login(**dict[str, Any](self.credentials))
            elif self.credentials is not None:
                con.login(*self.credentials)
        except BaseException:
            con.close()
            raise
        return con

    def close_connection(self, con: smtplib.SMTP | None) -> None:
        """Take leave of the server; what goes wrong then does not matter."""
        if con is not None:
            with contextlib.suppress(Exception):
                con.quit()

    def _tls(self) -> ssl.SSLContext:
        if isinstance(self.secure, ssl.SSLContext):
            return self.secure
        if self._context is None:
            self._context = make_context(self.secure)
        return self._context

    # -- its life

    def flush(self, timeout: float | None = None) -> bool:
        """Send a digest if there is one, and wait until all mails are delivered, dead or spooled.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether that came to pass in time.
        """
        with self._limit_lock:
            digests = self._withheld.take()
        for digest in digests:
            self._send(self._digest_mail(digest), list(digest.recipients))
        return super().flush(timeout)

    def statistics(self) -> dict[str, Any]:
        """Return the counts of the delivery, and how many records were ``unmailed``.

        These are the ones that exceeded a limit.  Digests tell their number, and mails that of
        their call, as far as :attr:`max_record_cache` calls can be remembered.
        """
        return {**super().statistics(), "unmailed": self._unmailed}

    def _say_last(self) -> None:
        """Hand over the last digests; the thread delivers them, also those of immediate mails."""
        with self._limit_lock:
            digests = self._withheld.take(at_end=True)
        for digest in digests:
            recipients = list(digest.recipients)
            self._delivery.put(_to_bytes(self._digest_mail(digest), recipients))

    def before_fork(self) -> None:
        """Wait until no other thread is counting."""
        self._held_at_fork = self._limit_lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self._limit_lock.release()

    def after_fork_in_child(self) -> None:
        """Start with a fresh lock; what was withheld before is the parent's to tell."""
        self._limit_lock = RLock()
        self._withheld.forget()


class _NotNowError(Exception):
    """The server is there, and does not want this mail for the time being."""


class GMailHandler(MailHandler):
    """Mails records by way of Gmail.

    Args:
        account_id: The account, which is the sender, such as ``me@gmail.com``.
        password: Its password for applications.
        recipients: Who gets the mail.
        **kw: The other arguments of `MailHandler`.
    """

    def __init__(self, account_id: str, password: str, recipients: Recipients, **kw: Any) -> None:
        super().__init__(
            account_id,
            recipients,
            secure=True,
            server_addr=("smtp.gmail.com", 587),
            credentials=(account_id, password),
            **kw,
        )
        self.ready(GMailHandler)


def _as_list(recipients: Recipients) -> list[str]:
    return [recipients] if isinstance(recipients, str) else list(recipients)


def _to_bytes(mail: Message, recipients: list[str]) -> bytes:
    # The envelope on the first line: a mail may wait in a file, for another process.
    return json.dumps(recipients).encode() + b"\n" + mail.as_string().encode("utf-8", "replace")


def _from_bytes(item: bytes) -> tuple[Message, list[str]]:
    envelope, _, text = item.partition(b"\n")
    mail: Message = message_from_bytes(text, policy=POLICY)
    return mail, json.loads(envelope)
