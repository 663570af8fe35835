"""Log numbered lines, and acknowledge on standard output each one whose call has returned.

Arguments: kind of handler, path, how many, length of a line; then any of ``user=ID``, ``limit=BYTES``
(of a file), ``repair=NUMBER:MODE:FOLDER`` (before that line the folder's mode is set).  Kinds that
begin with ``naive`` are controls.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module


def naive_handler(kind, path):
    """Return a handler as one writes it in a minute: the control that loses what ours keep."""
    from sprockets.logbook import Handler

    class Naive(Handler):
        def __init__(self):
            super().__init__()
            self.open()

        def open(self):
            # Large enough that nothing but closing empties it.
            buffering = 1 << 20 if kind == "naive-buffered" else -1
            self.stream = open(path, "a", buffering, "utf-8")  # noqa: SIM115 - closed below

        def emit(self, record):
            if kind == "naive-rotating" and self.stream.tell() > 900:
                self.stream.close()
                os.rename(path, f"{path}.{record.message.split()[0]}")
                self.open()
            self.stream.write(f"{record.message}\n")
            if kind != "naive-buffered":
                self.stream.flush()

        def close(self):
            self.stream.close()

    return Naive()


def make_handler(kind, path):
    from sprockets.logbook import FileHandler
    from sprockets.logbook.handlers import _rotating, _timed

    if kind.startswith("naive"):
        return naive_handler(kind, path)

    layout = "{record.message}"
    if kind == "file":
        return FileHandler(path, format_string=layout)
    if kind == "rotating":
        return _rotating.RotatingFileHandler(
            path, format_string=layout, max_size=1000, backup_count=999
        )
    if kind == "timed":
        return _timed.TimedRotatingFileHandler(
            path, format_string=layout, date_format="%Y-%m-%dT%H%M%S.%f"
        )
    return _timed.TimedRotatingFileHandler(path, format_string=layout)


def main():
    kind, path, count, length, *options = sys.argv[1:]
    repairs = {}
    user = None
    for option in options:
        name, _, value = option.partition("=")
        if name == "user":
            user = int(value)
        elif name == "limit":
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), -1))
        else:
            number, mode, folder = value.split(":")
            repairs[int(number)] = (folder, int(mode, 8))
    from sprockets.logbook import Logger, statistics

    import_module("sprockets.logbook.handlers._timed")
    if user is not None:
        # Not before everything is imported: the interpreter may be somebody else's.
        os.setuid(user)
    handler = make_handler(kind, path)
    handler.push_application()
    log = Logger("x")
    for number in range(int(count)) if int(count) >= 0 else iter(int, 1):
        if number in repairs:
            os.chmod(*repairs[number])
        failed = statistics()["failed"]
        log.info("{} {}", number, "x" * int(length))
        if statistics()["failed"] == failed:
            os.write(1, b"%d\n" % number)
    with suppress(OSError):
        handler.close()


if __name__ == "__main__":
    main()
