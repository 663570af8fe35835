"""Tornado and Twisted on one asyncio loop, each test in a process of its own."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "twisted_in_tornado.py"
PAGE = ROOT / "docs" / "howto" / "twisted.rst"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other event loops, other sockets")


def run(script, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True, text=True, check=False, timeout=60, **options,
    )  # fmt: skip


def facts(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.rule("E18.11", "E18.12", "E18.14", "E18.19", "E18.20", "E17.5", "E17.8")
def test_the_example_tells_each_request_as_one_tree(tmp_path):
    """Tornado's handler, a generator, a chain of Deferreds: the page shows what comes out."""
    done = subprocess.run(
        [sys.executable, "-P", str(EXAMPLE)],
        cwd=tmp_path, env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    answers, _, trees = done.stdout.partition("\n\n")
    assert [json.loads(line) for line in answers.splitlines()] == [
        {"left": 39},
        {"left": 2},
        {"message": "none of coffee"},
    ]
    (shown,) = re.findall(r"\.\. code-block:: text\n\n((?:    .*\n)+)", PAGE.read_text("utf-8"))
    shown = textwrap.dedent(shown).strip().splitlines()
    printed = trees.strip().splitlines()
    # Whatever encloses what the example itself logs.
    tops = [index for index, line in enumerate(printed) if "shop:order" in line]
    assert len(tops) == 3
    depth = len(printed[tops[0]]) - len(printed[tops[0]].lstrip())
    own = [line[depth:] for line in printed if "shop:" in line or "warehouse:" in line]
    assert set(shown) <= set(own)
    assert [line.split()[0] for line in own] == [
        "shop:order", "shop:sell", "warehouse:ask", "warehouse:answer",
    ] * 3  # fmt: skip


@pytest.mark.rule("E17.16")
def test_the_program_of_the_page_writes_its_line(tmp_path):
    """The block about a file, run as a program."""
    blocks = re.findall(
        r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text("utf-8"), re.MULTILINE
    )
    (program,) = [textwrap.dedent(each) for each in blocks if "__main__" in each]
    (tmp_path / "program.py").write_text(program)

    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "actions.log").read_text().splitlines()
    message = json.loads(line)
    assert (message["message_type"], message["value"], message["another"]) == ("test", "hello", 1)


def test_importing_installs_no_reactor():
    """Which one it is to be is the program's choice."""
    done = run("""
        import json, sys
        import sprockets.eliot.logwriter, sprockets.eliot.twisted
        print(json.dumps("twisted.internet.reactor" in sys.modules))
    """)

    assert facts(done) is False


PREAMBLE = """
import asyncio, importlib.util, json, sys
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from sprockets.eliot import add_destinations, current_action, log_message, start_action
from sprockets.eliot.twisted import DeferredContext, inline_callbacks

found = []
add_destinations(found.append)

def guest_loop():
    spec = importlib.util.spec_from_file_location("example", sys.argv[1])
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example.GuestLoop(asyncio.get_running_loop())

def install(is_guest):
    asyncioreactor.install(guest_loop() if is_guest else asyncio.get_running_loop())
    from twisted.internet import reactor
    reactor.startRunning(installSignalHandlers=False)
    return reactor

async def stop(reactor):
    over = asyncio.get_running_loop().create_future()
    reactor.addSystemEventTrigger("after", "shutdown", over.set_result, None)
    reactor.stop()
    await over

def say(facts):
    print(json.dumps(facts), flush=True)
"""


def run_on_loop(body, *arguments):
    script = PREAMBLE + textwrap.dedent(body) + "\nasyncio.run(main())\n"
    return run(script, str(EXAMPLE), *map(str, arguments))


STRANGERS = """
async def request(reactor, name, delay, seen):
    done = asyncio.get_running_loop().create_future()
    def called():
        action = current_action()
        seen.append([name, None if action is None else action.task_uuid])
        done.set_result(None)
    with start_action(action_type=name):
        reactor.callLater(delay, called)
        await done

async def main():
    reactor = install(sys.argv[2] == "guest")
    await asyncio.sleep(0)
    seen = []
    await asyncio.gather(*(
        request(reactor, name, delay, seen)
        for name, delay in zip("abcd", (0.03, 0.02, 0.02, 0.04))
    ))
    if sys.argv[2] == "guest":
        await stop(reactor)
    uuids = {each["action_type"]: each["task_uuid"] for each in found}
    say([[name, next((key for key in uuids if uuids[key] == uuid), None)] for name, uuid in seen])
    sys.stdout.flush()
    import os; os._exit(0)
"""


@pytest.mark.rule("E11.1", "E18.18")
def test_what_the_reactor_calls_is_in_nobodys_action():
    """A plain call of the reactor, made inside an action, runs outside of any."""
    found = facts(run_on_loop(STRANGERS, "guest"))

    assert sorted(found) == [["a", None], ["b", None], ["c", None], ["d", None]]


def test_the_control_without_the_guest_loop_strangers_are_mixed_up():
    """On the loop as it is, calls run in the action of whoever set the timer: why there is one."""
    found = facts(run_on_loop(STRANGERS, "as it is"))

    assert [pair for pair in found if pair[1] not in (None, pair[0])] != []


@pytest.mark.rule("E11.1", "E18.12", "E18.20")
@pytest.mark.parametrize("kind", ["guest", "as it is"])
def test_many_requests_at_once_keep_their_trees_apart(kind):
    """Coroutines, generators, and chains of Deferreds; timers and threads of the reactor's."""
    done = run_on_loop(
        """
        from twisted.internet.task import deferLater
        from twisted.internet.threads import deferToThread

        async def main():
            reactor = install(sys.argv[2] == "guest")

            def chain(number):
                with start_action(action_type="chain").context():
                    context = DeferredContext(deferLater(reactor, 0.001 * (number % 5), lambda: 1))
                    context.addCallback(lambda _: deferToThread(lambda: number))
                    context.addCallback(lambda result: log_message("chained", number=result))
                    return context.addActionFinish()

            @inline_callbacks
            def generator(number):
                with start_action(action_type="generator"):
                    yield chain(number)
                    yield deferLater(reactor, 0.001 * (number % 3), lambda: 1)
                    log_message("generated", number=number)
                return number

            async def request(number):
                with start_action(action_type="request", number=number):
                    result = await generator(number).asFuture(asyncio.get_running_loop())
                    await asyncio.sleep(0)
                    log_message("requested", number=result)

            await asyncio.gather(*(request(number) for number in range(60)))
            tasks = {}
            for message in found:
                tasks.setdefault(message["task_uuid"], []).append(message)
            say([
                [sorted(each["task_level"] for each in task),
                 len({each["number"] for each in task if "number" in each})]
                for task in tasks.values()
            ])
            if sys.argv[2] == "guest":
                await stop(reactor)
            else:
                reactor.getThreadPool().stop()
        """,
        kind,
    )

    tree = [[1], [2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 3], [2, 3], [2, 4], [3], [4]]
    assert facts(done) == [[tree, 1]] * 60


@pytest.mark.rule("E11.1", "E11.2")
def test_a_coroutine_that_awaits_deferreds_keeps_its_action():
    """As a coroutine of Twisted's, and of asyncio's."""
    done = run_on_loop(
        """
        from twisted.internet.defer import ensureDeferred

        async def main():
            waited = [Deferred(), Deferred()]

            async def twisted(number):
                with start_action(action_type="twisted"):
                    await waited[number]
                    log_message("went on")

            with start_action(action_type="outer"):
                both = [ensureDeferred(twisted(number)) for number in (0, 1)]
                assert current_action().task_uuid == found[0]["task_uuid"]
            with start_action(action_type="firing"):
                waited[1].callback(None)
                waited[0].callback(None)
            say([[each["action_type"] if "action_type" in each else each["message_type"],
                  each["task_level"]] for each in found])
        """
    )

    assert facts(done) == [
        ["outer", [1]],
        ["twisted", [2, 1]],
        ["twisted", [3, 1]],
        ["outer", [4]],
        ["firing", [1]],
        ["went on", [3, 2]],
        ["twisted", [3, 3]],
        ["went on", [2, 2]],
        ["twisted", [2, 3]],
        ["firing", [2]],
    ]


@pytest.mark.rule("E17.5", "E17.9")
def test_a_writer_stops_on_a_shared_loop_without_holding_it_up():
    """The loop turns while what is queued is written; the loop is not stopped with the reactor."""
    done = run_on_loop(
        """
        import time
        from sprockets.eliot.logwriter import ThreadedWriter

        async def main():
            reactor = install(True)
            written, ticks = [], []
            def slow(message):
                time.sleep(0.02)
                written.append(message)
            writer = ThreadedWriter(slow, reactor)
            writer.startService()
            reactor.addSystemEventTrigger("before", "shutdown", writer.stopService)
            for number in range(10):
                log_message("m", number=number)
            async def tick():
                while True:
                    ticks.append(len(written))
                    await asyncio.sleep(0.005)
            ticking = asyncio.create_task(tick())
            await stop(reactor)
            ticking.cancel()
            await asyncio.sleep(0)
            say({"written": len(written), "ticked": len(set(ticks)) > 2})
        """
    )

    assert facts(done) == {"written": 10, "ticked": True}
