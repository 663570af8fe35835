"""A timer's signal handler logs, finalisers log, and so does the main thread, all at once.

Arguments: which handler, path of the file, seconds.  Prints how many records each of the three logged,
how many of each are in the file, and how many lines are not as they were logged.
"""

import gc
import os
import re
import signal
import sys
import time


def main():
    kind, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    layout = "{record.message}"
    if kind == "stdlib":
        import logging

        logging.raiseExceptions = False
        handler = logging.StreamHandler(open(path, "w"))  # noqa: SIM115
        logger = logging.getLogger("signals")
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(10)
        log = logger.info
    else:
        from sprockets.logbook import (
            FileHandler,
            FingersCrossedHandler,
            GroupHandler,
            Logger,
            StderrHandler,
            StreamHandler,
        )

        if kind == "stream":
            handler = StreamHandler(open(path, "w"), format_string=layout)  # noqa: SIM115
        elif kind == "stderr":
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(descriptor, 2)
            handler = StderrHandler(format_string=layout)
        else:
            handler = FileHandler(path, format_string=layout)
        if kind == "fingers-crossed":
            handler = FingersCrossedHandler(handler, "DEBUG", reset=True)
        handler.push_application()
        if kind == "redirected":
            import logging

            from sprockets.logbook.compat import redirect_logging

            redirect_logging()
            log = logging.getLogger("signals").info
        else:
            log = Logger("signals").info
        assert GroupHandler

    counts = {"main": 0, "signal": 0, "del": 0}

    def say(who):
        counts[who] += 1
        log(f"<{who} {counts[who]} {'x' * 60}>")

    class Talking:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            say("del")

    signal.signal(signal.SIGALRM, lambda number, frame: say("signal"))
    # A hang is a failure, and not a hung test.
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds * 4 + 10)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        say("main")
        Talking()
    signal.setitimer(signal.ITIMER_REAL, 0)
    # What is garbage now says so now, and not between reading the file and counting.
    gc.collect()
    gc.disable()
    if kind == "stdlib":
        handler.flush()
    with open(path) as file:
        lines = file.read().splitlines()
    whole = [match[1] for line in lines if (match := re.fullmatch(r"<(\w+) \d+ x{60}>", line))]
    found = {who: whole.count(who) for who in counts}
    print(counts["main"], counts["signal"], counts["del"],
          found["main"], found["signal"], found["del"], len(lines) - len(whole))  # fmt: skip
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
