"""A timer's signal handler logs, finalisers log, and so does the main thread, all at once.

Arguments: which writer, which kind of file, path of what is written, seconds.  Prints how many
messages were logged in all; they are numbered.  Everything goes to a file in the end: what goes
through a pipe is put there by another process.
"""

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time


def open_file(kind, path):
    """Return a file, and a function that waits until all of it is at *path*."""
    if kind == "text":
        return open(path, "w", encoding="utf-8"), lambda: None
    if kind == "binary":
        return open(path, "wb"), lambda: None
    with open(path, "wb") as out:
        copying = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out)
    descriptor = os.dup(copying.stdin.fileno())
    copying.stdin.close()
    if kind == "text pipe":
        file = open(descriptor, "w", encoding="utf-8")  # noqa: SIM115
    else:
        file = open(descriptor, "wb", buffering=0 if kind == "raw pipe" else -1)  # noqa: SIM115

    def finish():
        file.close()
        copying.wait()

    return file, finish


class Naive:
    """What comes to mind first."""

    def __init__(self, file):
        self.file = file
        self.lock = threading.Lock()

    def __call__(self, message):
        line = json.dumps(message) + "\n"
        self.file.write(line)
        self.file.flush()


def main():
    writer, kind, path, seconds = *sys.argv[1:4], float(sys.argv[4])
    file, finish = open_file(kind, path)
    from sprockets.eliot import FileDestination, add_destinations, log_message, start_action

    add_destinations(Naive(file) if writer == "naive" else FileDestination(file=file))
    numbers = itertools.count()

    def say(who):
        log_message(who, number=next(numbers), text="x" * 60)

    class Talking:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            say("del")

    signal.signal(signal.SIGALRM, lambda number, frame: say("signal"))
    # A hang is a failure, and not a hung test.
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds * 4 + 10)
    end = time.monotonic() + seconds
    with start_action(action_type="all"):
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        while time.monotonic() < end:
            say("main")
            Talking()
        signal.setitimer(signal.ITIMER_REAL, 0)
        # What is garbage now says so now, and not between reading the file and counting.
        gc.collect()
        gc.disable()
    finish()
    print(next(numbers))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
