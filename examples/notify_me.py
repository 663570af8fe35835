"""Tell me when it is done: a long job whose end is shown on the desktop.

Run it with ``python -P examples/notify_me.py``.  It ends by itself.  Where there is no desktop, as
over SSH or in a container, it says so, and the console has the news all the same.
"""

import sys

from sprockets.logbook import Logger, NestedSetup, StreamHandler
from sprockets.logbook.notifiers import LibNotifyHandler, MacOSNotificationHandler

log = Logger("backup")


def make_notifier() -> LibNotifyHandler | MacOSNotificationHandler:
    """Return what this system's desktop is told by, at most once a minute of each call."""
    if sys.platform == "darwin":
        return MacOSNotificationHandler("Backup", level="NOTICE", bubble=True, record_limit=1)
    return LibNotifyHandler(
        "Backup", icon="drive-harddisk", level="NOTICE", bubble=True, record_limit=1
    )


def main() -> None:
    """Work, and tell."""
    console = StreamHandler(sys.stdout, format_string="{record.level_name}: {record.message}")
    try:
        notifier = make_notifier()
    except ImportError as error:
        with console:
            log.warning("no notices: {}", error)
            log.notice("3 folders are safe")
        return
    with NestedSetup([console, notifier]):
        for folder in ("letters", "photographs", "accounts"):
            log.info("copied {}", folder)
        log.notice("3 folders are safe")
        notifier.flush()
        if notifier.statistics()["unshown"]:
            log.info("there is no desktop here, so that was all")
    notifier.close()


if __name__ == "__main__":
    main()
