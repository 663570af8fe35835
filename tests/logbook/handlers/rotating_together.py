"""Several processes write numbered lines through one handler, or each through its own.

Arguments: kind of handler, path, number of processes, lines of each, ``before`` or ``after`` (when
the file is opened, seen from the fork), seconds between two lines.  Prints the seconds it took.
"""

import os
import sys
import time


def make_handler(kind, path):
    from sprockets.logbook.handlers import _rolling, _rotating, _timed

    layout = "{record.message}"
    if kind == "size":
        return _rotating.RotatingFileHandler(
            path, format_string=layout, max_size=10_000, backup_count=9_999
        )
    if kind == "large":
        return _rotating.RotatingFileHandler(
            path, format_string=layout, max_size=600_000, backup_count=9_999
        )
    if kind == "rolling":
        return _rolling.RollingFileHandler(
            path, format_string=layout, max_size=10_000, compression="gzip"
        )
    if kind == "monitoring":
        from sprockets.logbook import MonitoringFileHandler

        return MonitoringFileHandler(path, format_string=layout)
    return _timed.TimedRotatingFileHandler(
        path,
        format_string=layout,
        date_format="%Y-%m-%dT%H%M%S",
        timed_filename_for_current=kind == "timed",
    )


def work(handler, name, count, pause):
    from sprockets.logbook import Logger

    log = Logger(name)
    with handler.applicationbound():
        for number in range(count):
            log.info("{} {} {}", name, number, "x" * (number * 7 % 90))
            if pause:
                time.sleep(pause)
    handler.close()


def main():
    kind, path, processes, count, when, pause = sys.argv[1:]
    handler = make_handler(kind, path) if when == "before" else None
    started = time.monotonic()
    children = []
    for process in range(int(processes)):
        pid = os.fork()
        if not pid:
            work(handler or make_handler(kind, path), f"p{process}", int(count), float(pause))
            os._exit(0)
        children.append(pid)
    failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
    print(time.monotonic() - started)
    if handler is not None:
        handler.close()
    sys.exit(len(failed))


if __name__ == "__main__":
    main()
