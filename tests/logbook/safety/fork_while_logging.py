"""Two threads log without pause while the main thread forks; each child logs one record.

Arguments: which handler, path of the file, number of forks.  Prints how many children hung and how many
of their records are in the file.  A child that does not end within three seconds hangs.
"""

import os
import signal
import sys
import threading
import time
import warnings


def make_bindings(kind, path):
    """Return a function that logs, having bound a handler of *kind*."""
    if kind == "stdlib":
        import logging

        handler = logging.StreamHandler(open(path, "a", buffering=8192))  # noqa: SIM115
        logger = logging.getLogger("fork")
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(10)
        return logger.info
    from sprockets.logbook import (
        FileHandler,
        FingersCrossedHandler,
        Logger,
        StderrHandler,
        StreamHandler,
    )

    layout = "{record.message}"
    if kind == "file":
        handler = FileHandler(path, format_string=layout)
    elif kind == "stream":
        handler = StreamHandler(open(path, "a"), format_string=layout)  # noqa: SIM115
    elif kind == "stderr":
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(descriptor, 2)
        handler = StderrHandler(format_string=layout)
    elif kind == "fingers-crossed":
        handler = FingersCrossedHandler(
            FileHandler(path, format_string=layout), "DEBUG", reset=True
        )
    else:
        handler = FileHandler(path, format_string=layout)
    handler.push_application()
    if kind == "redirected":
        import logging

        from sprockets.logbook.compat import redirect_logging

        redirect_logging()
        return logging.getLogger("fork").info
    return Logger("fork").info


def wait_for(pid, seconds=3.0):
    """Return whether the child ended in time; kill it if not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def main():
    kind, path, forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # Python 3.12 and later warn of forks with threads: that is what is tried here.
    warnings.simplefilter("ignore", DeprecationWarning)
    log = make_bindings(kind, path)
    stopped = threading.Event()

    def work():
        while not stopped.is_set():
            log("thread " + "x" * 100)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    hung = 0
    for number in range(forks):
        pid = os.fork()
        if not pid:
            log(f"child {number} end")
            os._exit(0)
        if not wait_for(pid):
            hung += 1
            if kind == "stdlib":
                break
    stopped.set()
    for thread in threads:
        thread.join()
    with open(path) as file:
        found = {line for line in file if line.startswith("child") and line.endswith(" end\n")}
    print(hung, len(found))


if __name__ == "__main__":
    main()
