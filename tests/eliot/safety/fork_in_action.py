"""Forks inside of an action, twice, with threads that log in it; every process goes on with it.

Arguments: ours or naive, path.  Prints how many messages were logged in all processes together.
"""

import os
import sys
import threading
import warnings


def main():
    which, path = sys.argv[1:3]
    # Python 3.12 and later warn of forks with threads: that is what is tried here.
    warnings.simplefilter("ignore", DeprecationWarning)
    from sprockets.eliot import _action, log_message, start_action, to_file

    if which == "naive":
        # What an action is without knowing of forks.
        _action._go_on_in_child = None
        _action.Action._go_on_in_child = lambda self: setattr(
            self, "_generation", _action._generation
        )
    to_file(open(path, "ab"))  # noqa: SIM115

    def work(action, name):
        with action.context():
            for _ in range(10):
                log_message(f"{name} message")
                with start_action(action_type=f"{name} action"):
                    log_message(f"{name} inner")

    def work_in_threads(action, name):
        threads = [threading.Thread(target=work, args=(action, name)) for _ in range(8)]
        for thread in threads:
            thread.start()
        return threads

    children = []
    with start_action(action_type="outer") as outer, start_action(action_type="inner") as inner:
        threads = work_in_threads(inner, "parent")
        for _ in range(2):
            pid = os.fork()
            if pid:
                children.append(pid)
            else:
                # These were the parent's.
                children.clear()
                threads = work_in_threads(inner, "child")
        work(outer, "both")
        log_message("in inner")
        for thread in threads:
            thread.join()
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
    log_message("alone")


if __name__ == "__main__":
    main()
