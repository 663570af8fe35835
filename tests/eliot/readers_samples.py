"""Programs that log, for either library: the first argument is the package to import.

The second is the program, the third the path to write to.
"""

import importlib
import sys
import threading


class MyException(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


def standalone(eliot):
    eliot.log_message(message_type="app:standalone", value="hello", another=1)
    eliot.log_message(
        message_type="app:second", text='café ✓ "q"\n', nothing=None, flag=True, ratio=0.5,
        items=[1, "a", {"k": []}],
    )  # fmt: skip


def nested(eliot):
    try:
        with eliot.start_task(action_type="app:parent", key=123):
            eliot.log_message("app:info", x=1)
            with eliot.start_action(action_type="app:child", n=2) as action:
                eliot.log_message("app:info", x=2)
                action.add_success_fields(result=[1, 2])
            try:
                with eliot.start_action(action_type="app:badchild"):
                    raise OSError(2, "No such file", "/x")
            except OSError:
                pass
            raise RuntimeError("ono")
    except RuntimeError:
        pass


def tracebacks(eliot):
    def inner():
        raise ValueError("because")

    def outer():
        inner()

    try:
        outer()
    except ValueError:
        eliot.write_traceback()
    with eliot.start_action(action_type="app:act"):
        try:
            open("/nonexistent")  # noqa: SIM115 - it does not open
        except OSError:
            eliot.write_traceback()


def remote(eliot):
    with (
        eliot.start_action(action_type="main"),
        eliot.start_action(action_type="http_request", x=1) as request,
    ):
        task_id = request.serialize_task_id()

        def serve():
            with (
                eliot.Action.continue_task(task_id=task_id),
                eliot.start_action(action_type="divide", x=1),
            ):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
        request.add_success_fields(result=2)


def preserved(eliot):
    def add(x, y):
        with eliot.start_action(action_type="in_thread", x=x, y=y) as action:
            action.add_success_fields(result=x + y)

    with eliot.start_action(action_type="main_thread"):
        thread = threading.Thread(target=eliot.preserve_context(add), args=(3, 4))
        thread.start()
        thread.join()


def failures(eliot):
    def fail(message):
        if message.get("message_type") == "app:x":
            raise RuntimeError("disk full")

    eliot.add_destinations(fail)
    eliot.log_message("app:x", n=1)
    eliot.register_exception_extractor(MyException, lambda error: {"code": error.code})
    try:
        with eliot.start_action(action_type="app:act"):
            raise MyException(17)
    except MyException:
        pass


def main():
    package, program, path = sys.argv[1:]
    eliot = importlib.import_module(package)
    with open(path, "w", encoding="utf-8") as file:
        eliot.to_file(file)
        globals()[program](eliot)


if __name__ == "__main__":
    main()
