"""Two threads log without pause while the main thread forks; each child logs one message.

Arguments: which writer, path, number of forks.  Prints how many children hung.  A child that does
not end within three seconds hangs.
"""

import os
import signal
import sys
import threading
import time
import warnings


class Naive:
    """What comes to mind first."""

    def __init__(self, file):
        self.file = file
        self.lock = threading.Lock()

    def __call__(self, message):
        with self.lock:
            self.file.write(f"{message}\n".encode())
            self.file.flush()


def wait_for(pid, seconds=30.0):
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
    writer, path, forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
    warnings.simplefilter("ignore", DeprecationWarning)
    from sprockets.eliot import FileDestination, add_destinations, log_message

    class Wrapper:
        """A file that is none of the system's, which takes its lines in turn."""

        def __init__(self, file):
            self.write, self.flush = file.write, file.flush

    file = open(path, "ab")  # noqa: SIM115
    if writer == "naive":
        add_destinations(Naive(file))
    else:
        add_destinations(FileDestination(file=Wrapper(file) if writer == "in turn" else file))
    stopped = threading.Event()

    def work():
        while not stopped.is_set():
            log_message("thread", text="x" * 1000)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    hung = 0
    for number in range(forks):
        pid = os.fork()
        if not pid:
            log_message("child", number=number)
            os._exit(0)
        if not wait_for(pid, 3.0 if writer == "naive" else 30.0):
            hung += 1
            if writer == "naive":
                break
    stopped.set()
    for thread in threads:
        thread.join()
    print(hung)


if __name__ == "__main__":
    main()
