"""The services behind apprise's URLs: each is told once, within a time-out, and says why not.

What apprise logs while it works for us is heard here, as the reason of a failure, and goes nowhere
else: its words would become notices themselves, and some have the whole URL in them.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Thread, local
from typing import Any, Final

from sprockets._support.optional import MissingDependency, optional
from sprockets.logbook._levels import ERROR, WARNING
from sprockets.logbook._text import escape_line
from sprockets.logbook.delivery import Retry
from sprockets.logbook.notifiers._sending import is_sending, sending

RETRY: Final = Retry(initial=2.0, maximum=60.0)
"""When services are told again: for some minutes."""


class NotSentError(Exception):
    """Not all services took a notice; those that did are not told again."""


class AppriseServices:
    """Tells all services that some URLs stand for.

    Args:
        url_or_urls: One URL, or several.
        application_name: Who tells, where a service shows that.
        timeout: Seconds for each of them.
        needed_by: Who needs them, as an error should call it.

    Raises:
        MissingDependency: ``apprise`` is not installed, or what one of the services needs is not.
        ValueError: There is no URL, or one that apprise does not understand.
    """

    names: list[str]
    """What the services are called, and not where they are."""

    def __init__(
        self,
        url_or_urls: str | Iterable[str],
        *,
        application_name: str | None,
        timeout: float,
        needed_by: str,
    ) -> None:
        urls = [url_or_urls] if isinstance(url_or_urls, str) else list(url_or_urls)
        if not urls:
            raise ValueError(f"{needed_by} needs at least one URL, such as 'ntfy://topic'")
        library = optional("apprise", extra="apprise", needed_by=needed_by)
        _listen()
        # In order and in the thread that asks: its own threads outlive the program's last word, and
        # do not exist in a forked child.
        settings: dict[str, Any] = {"async_mode": False, "interpret_emojis": False}
        if "service_timeout" in inspect.signature(library.AppriseAsset).parameters:
            settings["service_timeout"] = 0
        if application_name:
            settings["app_id"] = escape_line(application_name)
        asset = library.AppriseAsset(**settings)
        self.timeout = timeout
        self._services = [
            _Service(library, _checked(library, url, index, asset), asset)
            for index, url in enumerate(urls, 1)
        ]
        self.names = [service.name for service in self._services]
        # The notice tried last, and who has it already.
        self._key: object = None
        self._told: set[int] = set()

    def send(self, key: object, title: str, text: str, notify_type: str) -> None:
        """Tell all services that were not told of this notice yet.

        Args:
            key: Which notice it is.
            title: One line.
            text: Plain text.
            notify_type: ``info``, ``success``, ``warning`` or ``failure``.

        Raises:
            NotSentError: Some could not be told; the text says which, and why.
        """
        if key != self._key:
            self._key, self._told = key, set()
        # This notice's own, also if another thread comes with the next.
        told = self._told
        failures = []
        for index, service in enumerate(self._services):
            if index in told:
                continue
            failure = service.tell(title, text, notify_type, self.timeout)
            if failure is None:
                told.add(index)
            else:
                failures.append(f"{service.name}: {failure}")
        if failures:
            raise NotSentError("; ".join(failures))
        self._key = None


def notify_type_of(level: int) -> str:
    """Return the type that apprise has for records of *level*.

    >>> notify_type_of(WARNING)
    'warning'
    """
    if level >= ERROR:
        return "failure"
    return "warning" if level >= WARNING else "info"


class _Service:
    """One service.

    Args:
        library: apprise.
        plugin: What the URL stands for.
        asset: How apprise is to work.
    """

    def __init__(self, library: Any, plugin: Any, asset: Any) -> None:
        self.name: str = str(getattr(plugin, "service_name", None) or type(plugin).__name__)
        self._apprise = library.Apprise(asset=asset)
        self._apprise.add(plugin)
        self._format: Any = library.NotifyFormat.TEXT
        self._thread: Thread | None = None

    def tell(self, title: str, text: str, notify_type: str, timeout: float) -> str | None:
        """Return why the service could not be told; ``None`` if it was."""
        answers: SimpleQueue[str | None] = SimpleQueue()

        def ask() -> None:
            with sending():
                answers.put(
                    _reason_of_failure(
                        lambda: self._apprise.notify(
                            body=text,
                            title=title,
                            notify_type=notify_type,
                            body_format=self._format,
                        )
                    )
                )

        if self._thread is not None:
            # A thread that never comes back is the only one.
            self._thread.join(timeout)
            if self._thread.is_alive():
                return "still busy with an earlier notice"
        thread = Thread(target=ask, name=f"apprise to {self.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # There are no new threads any more: the interpreter is about to end.
            ask()
        else:
            self._thread = thread
        try:
            return answers.get(timeout=timeout)
        except Empty:
            return f"no answer within {timeout:g} s"


def _checked(library: Any, url: object, index: int, asset: Any) -> Any:
    """Return what *url* stands for; the error does not say it, since there are secrets in it."""
    plugin: Any = None
    with sending():
        heard = _begin_to_hear()
        if isinstance(url, str):
            plugin = library.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is not None:
        return plugin
    match = re.match(r"([A-Za-z0-9]{1,20})://", url) if isinstance(url, str) else None
    which = f"URL {index}" if match is None else f"URL {index} ({match[1]}://…)"
    if match is not None and any("is disabled" in text for text in heard):
        raise MissingDependency(
            f"apprise cannot use {which}: a library is missing that this service needs;"
            " see https://github.com/caronc/apprise/wiki",
            name=match[1],
        )
    raise ValueError(
        f"{which} is none that apprise understands, or a part of it is missing;"
        " see https://github.com/caronc/apprise/wiki"
    )


# -- what apprise says of it

_heard: Final = local()


class _Listener(logging.Filter):
    """Keeps what apprise logs in a thread that sends, and lets everything else pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not is_sending():
            return True
        texts = getattr(_heard, "texts", None)
        if texts is not None and record.levelno >= logging.WARNING and len(texts) < 10:
            texts.append(escape_line(record.getMessage()[:300]))
        return False


_LISTENER: Final = _Listener("apprise")


def _listen() -> None:
    # Where it is once, it stays: it does nothing in threads of others.
    logging.getLogger("apprise").addFilter(_LISTENER)


def _begin_to_hear() -> list[str]:
    texts: list[str] = []
    _heard.texts = texts
    return texts


def _reason_of_failure(notify: Callable[[], object]) -> str | None:
    """Return why *notify* failed, as far as apprise says; ``None`` if it did not."""
    heard = _begin_to_hear()
    try:
        if notify():
            return None
    except Exception as error:  # noqa: BLE001 - some hundred services, written by as many people
        return f"{type(error).__name__}: {escape_line(str(error)[:300])}"
    return " ".join(heard) or "apprise does not say why"
