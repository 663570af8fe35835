"""Calls as actions: which arguments are logged, what the wrapper keeps of the function."""

import abc
import asyncio
import contextlib
import copy
import functools
import gc
import inspect
import json
import pickle
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot import (
    MemoryLogger,
    current_action,
    log_call,
    log_message,
    start_action,
)
from sprockets.eliot.testing import LoggedAction, swap_logger

STANDARD = {"task_uuid", "task_level", "timestamp", "action_type", "action_status"}


@pytest.fixture(name="logger")
def _logger():
    """A logger that keeps its messages, and is the default one; all are as they should be."""
    logger = MemoryLogger()
    previous = swap_logger(logger)
    yield logger
    swap_logger(previous)
    logger.validate()


def own(message):
    """Return the fields of *message* that it was logged with."""
    return {name: value for name, value in message.items() if name not in STANDARD}


@log_call
def calc(x, y=2, *a, **k):
    """Calculate."""
    return x * y


@log_call
async def calc_later(x):
    await asyncio.sleep(0)
    log_message("inside", x=x)
    return x * 2


class Shop:
    @log_call
    def method(self, x):
        return x

    @classmethod
    @log_call
    def outside_class(cls, x):
        return cls, x

    @log_call
    @classmethod
    def inside_class(cls, x):
        return cls, x

    @staticmethod
    @log_call
    def outside_static(x):
        return x

    @log_call
    @staticmethod
    def inside_static(x):
        return x

    @log_call
    async def wait(self, x):
        return x


# -- what is logged


@pytest.mark.rule("E8.1", "E8.2", "E8.3")
def test_a_call_is_an_action(logger):
    """Named after the function; its arguments at the start, its result at the end."""

    @log_call
    def add(x, y):
        log_message("inside")
        return x + y

    assert add(1, y=2) == 3

    (action,) = LoggedAction.of_type(
        logger.messages, f"{__name__}.test_a_call_is_an_action.<locals>.add"
    )
    assert own(action.start_message) == {"x": 1, "y": 2}
    assert own(action.end_message) == {"result": 3}
    assert [child.message["message_type"] for child in action.children] == ["inside"]


@pytest.mark.rule("E8.1")
def test_a_method_is_named_with_its_class(logger):
    """By its qualified name."""
    assert Shop().method(5) == 5

    assert logger.messages[0]["action_type"] == f"{__name__}.Shop.method"


@pytest.mark.rule("E8.1")
@pytest.mark.parametrize(
    "decorate", [functools.partial(log_call, action_type="t"), log_call(action_type="t")]
)
def test_the_type_may_be_given(logger, decorate):
    """With the function, or as a decorator with arguments."""
    decorate(lambda: None)()

    assert logger.messages[0]["action_type"] == "t"


@pytest.mark.rule("E8.2")
def test_every_argument_is_logged_in_the_order_of_the_signature(logger):
    """With defaults filled in, positional and keyword rest as one field each."""

    @log_call
    def f(a, /, b, c=3, *args, d, e=5, **kwargs):
        return None

    f(1, 2, d=4)
    f(1, b=2, d=4)
    f(1, 2, 33, 44, 55, z=9, e=6, d=7, a="keyword")

    starts = [own(m) for m in logger.messages if m["action_status"] == "started"]
    assert (
        starts[0] == starts[1] == {"a": 1, "b": 2, "c": 3, "args": (), "d": 4, "e": 5, "kwargs": {}}
    )
    assert starts[2] == {
        "a": 1,
        "b": 2,
        "c": 33,
        "args": (44, 55),
        "d": 7,
        "e": 6,
        "kwargs": {"z": 9, "a": "keyword"},
    }
    assert all(list(start) == ["a", "b", "c", "args", "d", "e", "kwargs"] for start in starts)


@pytest.mark.rule("E8.1", "E8.2", "E8.3")
def test_the_sample_program_writes_the_sample_lines():
    """`calc(3)` in a program of its own."""
    program = (
        "import sys\n"
        "from sprockets.eliot import log_call, to_file\n"
        "to_file(sys.stdout)\n"
        "@log_call\n"
        "def calc(x, y=2, *a, **k):\n"
        "    return x * y\n"
        "calc(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    start, end = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(start.items())[:5] == [
        ("x", 3),
        ("y", 2),
        ("a", []),
        ("k", {}),
        ("action_status", "started"),
    ]
    assert list(start)[5:] == ["timestamp", "task_uuid", "action_type", "task_level"]
    assert list(end) == [
        "result",
        "action_status",
        "timestamp",
        "task_uuid",
        "action_type",
        "task_level",
    ]
    assert (start["action_type"], start["task_level"], end["task_level"]) == (
        "__main__.calc",
        [1],
        [2],
    )
    assert (end["result"], end["action_status"]) == (6, "succeeded")
    assert start["task_uuid"] == end["task_uuid"]


@pytest.mark.rule("E8.2")
def test_self_is_left_out_and_cls_is_not(logger):
    """A class is worth knowing, and short."""
    Shop().method(5)
    Shop.outside_class(6)

    starts = [own(m) for m in logger.messages if m["action_status"] == "started"]
    assert starts == [{"x": 5}, {"cls": Shop, "x": 6}]


@pytest.mark.rule("E8.3")
def test_the_result_is_logged_even_if_it_is_none(logger):
    """So that one sees that it was."""
    log_call(lambda: None)()

    assert own(logger.messages[1]) == {"result": None}


@pytest.mark.rule("E8.3")
def test_the_result_may_be_left_out(logger):
    """The caller gets it all the same."""
    assert log_call(include_result=False)(lambda: 5)() == 5

    assert own(logger.messages[1]) == {}


@pytest.mark.rule("E8.4")
def test_arguments_may_be_chosen(logger):
    """By name; self as well, if it is asked for by name."""

    @log_call(include_args=["y", "self"])
    def f(self, x, y=2, *, secret):
        return None

    f("me", 1, secret="hush")

    assert own(logger.messages[0]) == {"y": 2, "self": "me"}


@pytest.mark.rule("E8.4")
def test_none_may_be_chosen(logger):
    """An empty choice is one."""
    log_call(include_args=[])(lambda x: x)(5)

    assert own(logger.messages[0]) == {}


@pytest.mark.rule("E8.4")
def test_an_argument_that_is_not_there_cannot_be_chosen():
    """That is found at decoration, and what there is, is said."""
    with pytest.raises(ValueError, match=r"f\(\) has no argument 'z'; it has 'x', 'k'"):

        @log_call(include_args=["x", "z"])
        def f(x, **k):
            return None


@pytest.mark.rule("E8.5")
def test_an_exception_fails_the_action_and_passes_through(logger):
    """The very same one."""
    error = ZeroDivisionError("no")

    @log_call
    def f(x):
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        f(1)

    assert caught.value is error
    assert own(logger.messages[1]) == {"exception": "builtins.ZeroDivisionError", "reason": "no"}
    assert logger.messages[1]["action_status"] == "failed"


@pytest.mark.rule("E8.5")
@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1, 2), {"z": 3})]
)
def test_a_call_that_does_not_fit_logs_nothing(logger, args, kwargs):
    """And says what the function itself would have said."""

    def f(x, y):
        return None

    with pytest.raises(TypeError) as bare:
        f(*args, **kwargs)
    with pytest.raises(TypeError) as logged:
        log_call(f)(*args, **kwargs)

    assert str(logged.value) == str(bare.value)
    assert logger.messages == []


@pytest.mark.rule("E8.5")
@pytest.mark.parametrize("function", [lambda a, /: a, lambda a, /, b=1: a, lambda *, a: a])
def test_how_an_argument_may_be_passed_stays_as_it_is(logger, function):
    """By position only, or by name only."""
    is_by_name = inspect.signature(function).parameters["a"].kind is inspect.Parameter.KEYWORD_ONLY
    wrapped = log_call(function)

    assert (wrapped(a=1) if is_by_name else wrapped(1)) == 1
    with pytest.raises(TypeError, match="positional"):
        wrapped(1) if is_by_name else wrapped(a=1)
    assert len(logger.messages) == 2


@pytest.mark.rule("E8.9")
def test_arguments_with_names_of_ours_are_logged(logger):
    """Those of start_action as they are, those of a message with a line after them."""

    @log_call
    def f(logger, action_type, _serializers, task_uuid, timestamp, reason, reason_, message_type):
        return None

    f(*range(8))

    assert own(logger.messages[0]) == {
        "logger": 0,
        "action_type_": 1,
        "_serializers": 2,
        "task_uuid_": 3,
        "timestamp_": 4,
        "reason__": 5,
        "reason_": 6,
        "message_type_": 7,
    }
    assert len(logger.messages[0]["task_uuid"]) == 36


ORDINARY = [
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
]


@given(st.data())
def test_arguments_are_put_to_names_as_the_interpreter_does(data):
    """Whatever the parameters are and however it is called: the same fields, or both refuse."""
    names = data.draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6))
    kinds = sorted(
        data.draw(
            st.lists(
                st.sampled_from(ORDINARY),
                min_size=len(names),
                max_size=len(names),
            )
        )
    )
    parameters, needs_default = [], False
    for name, kind in zip(names, kinds, strict=True):
        if kind is inspect.Parameter.KEYWORD_ONLY:
            has_default = data.draw(st.booleans())
        else:
            has_default = needs_default = needs_default or data.draw(st.booleans())
        default = f"default {name}" if has_default else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))
    if data.draw(st.booleans()):
        place = sum(kind is not inspect.Parameter.KEYWORD_ONLY for kind in kinds)
        parameters.insert(place, inspect.Parameter("rest", inspect.Parameter.VAR_POSITIONAL))
    if data.draw(st.booleans()):
        parameters.append(inspect.Parameter("more", inspect.Parameter.VAR_KEYWORD))

    scope = {}
    exec(f"def f{inspect.Signature(parameters)}: return locals()", scope)
    args = data.draw(st.lists(st.integers(), max_size=5))
    kwargs = data.draw(st.dictionaries(st.sampled_from("abcdefghz"), st.integers(), max_size=4))
    try:
        expected = [scope["f"](*args, **kwargs)]
    except TypeError:
        expected = []

    logger = MemoryLogger()
    previous = swap_logger(logger)
    try:
        with contextlib.suppress(TypeError):
            log_call(scope["f"])(*args, **kwargs)
    finally:
        swap_logger(previous)

    assert [own(message) for message in logger.messages[:1]] == expected


def test_a_default_is_the_same_object(logger):
    """Nothing is copied, or written out and read again."""
    default = object()

    log_call(lambda x=default, *, y=default: None)()

    assert logger.messages[0]["x"] is default
    assert logger.messages[0]["y"] is default


# -- what is decorated


@pytest.mark.rule("E8.6")
def test_the_wrapper_looks_like_the_function():
    """Name, documentation, signature, marks; and leads to it."""

    def f(x: int, *, y: str = "a") -> float:
        """Do it."""

    f.mark = 5
    wrapped = log_call(f)

    assert (wrapped.__name__, wrapped.__qualname__) == (f.__name__, f.__qualname__)
    assert (wrapped.__doc__, wrapped.__module__, wrapped.mark) == ("Do it.", __name__, 5)
    assert wrapped.__wrapped__ is f
    assert inspect.signature(wrapped) == inspect.signature(f)
    assert wrapped.__annotations__ == f.__annotations__


@pytest.mark.rule("E8.6")
@pytest.mark.parametrize("function", [calc, calc_later])
def test_a_function_of_a_module_is_pickled_by_its_name(function, monkeypatch):
    """As any, also inside a partial object; and copied as any."""
    # With importlib mode pytest leaves the module out, or under another name.
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())

    assert pickle.loads(pickle.dumps(function)) is function
    assert pickle.loads(pickle.dumps(functools.partial(function, 1))).func is function
    assert copy.deepcopy(function) is function


def _this_module():
    import types

    module = types.ModuleType(__name__)
    module.__dict__.update(globals())
    return module


@pytest.mark.rule("E8.6")
def test_a_pickled_function_is_logged_where_it_is_called(tmp_path):
    """In another process, started afresh, as multiprocessing does."""
    (tmp_path / "work.py").write_text(
        "from sprockets.eliot import log_call\n@log_call\ndef double(x):\n    return 2 * x\n"
    )
    (tmp_path / "main.py").write_text(
        "import multiprocessing, work\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(work.double, [1, 2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert (done.stdout, done.returncode) == ("[2, 4]\n", 0), done.stderr


def test_static_and_class_methods_may_be_decorated_on_either_side(logger):
    """The decorators may stand in any order."""
    assert Shop.outside_static(1) == Shop.inside_static(1) == Shop().inside_static(1) == 1
    assert Shop.outside_class(2) == Shop.inside_class(2) == Shop().inside_class(2) == (Shop, 2)

    types = [m["action_type"].removeprefix(f"{__name__}.") for m in logger.messages[::2]]
    assert types == [
        "Shop.outside_static",
        "Shop.inside_static",
        "Shop.inside_static",
        "Shop.outside_class",
        "Shop.inside_class",
        "Shop.inside_class",
    ]
    assert [own(m) for m in logger.messages[:4:2]] == [{"x": 1}, {"x": 1}]


def test_abstract_methods_stay_abstract():
    """Their mark is kept."""

    class Base(abc.ABC):
        @log_call
        @abc.abstractmethod
        def f(self):
            """Do it."""

    with pytest.raises(TypeError, match="abstract"):
        Base()


def test_a_partial_object_is_called_after_its_function(logger):
    """Its arguments are those that are left, and those it would pass by name."""

    def f(x, y, z=3):
        return x + y + z

    assert log_call(functools.partial(functools.partial(f, 1), z=30))(2) == 33

    assert logger.messages[0]["action_type"] == f"{__name__}.{f.__qualname__}"
    assert own(logger.messages[0]) == {"y": 2, "z": 30}


def test_a_partial_object_of_a_decorated_function_logs(logger):
    """With all arguments."""
    assert functools.partial(calc, 3)(y=5) == 15

    assert own(logger.messages[0]) == {"x": 3, "y": 5, "a": (), "k": {}}


def test_an_instance_that_can_be_called_is_called_after_its_class(logger):
    """So is a class by its own name; attributes of either are not taken over."""

    class Price:
        limit = 5

        def __init__(self, factor=2):
            self.factor = factor

        def __call__(self, x):
            return self.factor * x

    wrapped = log_call(Price())
    assert wrapped(2) == 4
    assert isinstance(log_call(Price)(factor=3), Price)

    assert {m["action_type"] for m in logger.messages} == {f"{__name__}.{Price.__qualname__}"}
    assert [own(m) for m in logger.messages[::2]] == [{"x": 2}, {"factor": 3}]
    assert not hasattr(wrapped, "factor")


def test_a_builtin_function_may_be_decorated(logger):
    """If it tells its arguments."""
    assert log_call(math_gcd := sorted)([2, 1]) == [1, 2]
    assert math_gcd is sorted

    assert logger.messages[0]["action_type"] == "builtins.sorted"


@pytest.mark.parametrize(
    ("thing", "error", "text"),
    [
        ("app:type", TypeError, "decorates functions, not 'app:type' .*given as action_type="),
        (property(lambda self: 1), TypeError, "decorates functions, not <property"),
        (type, ValueError, "cannot find out the arguments of <class 'type'>"),
    ],
)
def test_what_cannot_be_decorated_is_refused(thing, error, text):
    """At once, with a text that helps."""
    with pytest.raises(error, match=text):
        log_call(thing)


# -- what returns before it is done


@pytest.mark.rule("E8.7")
def test_a_coroutine_function_stays_one_and_its_action_lasts_until_it_returns(logger):
    """What it awaits and logs is inside; the result is what it returns."""
    assert inspect.iscoroutinefunction(calc_later)

    assert asyncio.run(calc_later(4)) == 8

    (action,) = LoggedAction.of_type(logger.messages, f"{__name__}.calc_later")
    assert own(action.start_message) == {"x": 4}
    assert own(action.end_message) == {"result": 8}
    assert [child.message["message_type"] for child in action.children] == ["inside"]


@pytest.mark.rule("E8.7")
def test_coroutines_that_run_at_the_same_time_keep_their_actions_apart(logger):
    """Each is a branch of its own, and what it logs is in it."""

    async def main():
        with start_action(action_type="main"):
            return await asyncio.gather(*(calc_later(x) for x in range(5)))

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]

    (main_action,) = LoggedAction.of_type(logger.messages, "main")
    assert [own(child.start_message) for child in main_action.children] == [
        {"x": x} for x in range(5)
    ]
    for x, child in enumerate(main_action.children):
        assert [(m.message["message_type"], m.message["x"]) for m in child.children] == [
            ("inside", x)
        ]


@pytest.mark.rule("E8.7", "E8.5")
def test_a_coroutine_that_fails_or_is_cancelled_fails_its_action(logger):
    """By its exception, which passes through."""

    @log_call
    async def wait():
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert current_action() is None

    asyncio.run(main())

    assert logger.messages[1]["exception"] == "asyncio.exceptions.CancelledError"


@pytest.mark.rule("E8.7", "E8.5")
def test_a_coroutine_call_that_does_not_fit_logs_nothing(logger):
    """It is refused when it is awaited."""
    with pytest.raises(
        TypeError, match=r"calc_later\(\) missing 1 required positional argument: 'x'"
    ):
        asyncio.run(calc_later())

    assert logger.messages == []


@pytest.mark.rule("E8.7")
def test_everything_that_is_a_coroutine_function_is_one_decorated(logger):
    """A method, a partial object, an instance, a function whose result is left out."""

    class Caller:
        async def __call__(self, x):
            return x

    functions = [
        Shop().wait,
        log_call(functools.partial(calc_later.__wrapped__)),
        log_call(Caller()),
        log_call(include_result=False)(calc_later.__wrapped__),
    ]

    async def main():
        return [await function(1) for function in functions]

    assert asyncio.run(main()) == [1, 2, 1, 2]
    assert all(inspect.iscoroutinefunction(function) for function in functions)
    ends = [own(m) for m in logger.messages if m.get("action_status") == "succeeded"]
    assert ends == [{"result": 1}, {"result": 2}, {"result": 1}, {}]


@pytest.mark.rule("E8.8")
def test_the_action_of_a_generator_function_is_over_when_the_generator_is_made(logger):
    """What the generator does later is not in it."""

    @log_call
    def numbers(x):
        log_message("inside")
        yield x
        yield x + 1

    generator = numbers(1)
    made = [m["action_status"] for m in logger.messages]

    assert made == ["started", "succeeded"]
    assert own(logger.messages[0]) == {"x": 1}
    assert list(generator) == [1, 2]
    assert logger.messages[2]["message_type"] == "inside"
    assert logger.messages[2]["task_uuid"] != logger.messages[0]["task_uuid"]


@pytest.mark.rule("E8.8")
def test_so_is_that_of_an_asynchronous_one(logger):
    """It is iterated and closed as without; context managers made of it work."""

    @log_call
    async def numbers(x):
        try:
            yield x
            yield x + 1
        finally:
            log_message("closed")

    @contextlib.asynccontextmanager
    @log_call
    async def manager():
        yield 5

    async def main():
        found = [number async for number in numbers(1)]
        generator = numbers(7)
        found.append(await anext(generator))
        await generator.aclose()
        async with manager() as five:
            return [*found, five]

    assert asyncio.run(main()) == [1, 2, 7, 5]
    kinds = [m.get("action_status") or m["message_type"] for m in logger.messages]
    assert kinds == ["started", "succeeded", "closed"] * 2 + ["started", "succeeded"]


def test_recursion_makes_a_tree(logger):
    """Each call inside the one that made it."""

    @log_call(action_type="down")
    def down(n):
        return 0 if n == 0 else 1 + down(n - 1)

    assert down(3) == 3

    (top,) = [
        a for a in LoggedAction.of_type(logger.messages, "down") if own(a.start_message) == {"n": 3}
    ]
    assert top.type_tree() == {"down": [{"down": [{"down": [{"down": []}]}]}]}


def test_threads_may_call_at_the_same_time(logger):
    """Each call has an action of its own."""
    threads = [threading.Thread(target=lambda: [calc(n) for n in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    actions = LoggedAction.of_type(logger.messages, f"{__name__}.calc")
    assert len(actions) == len({a.start_message["task_uuid"] for a in actions}) == 200
    assert all(a.end_message["result"] == 2 * a.start_message["x"] for a in actions)


def test_arguments_and_results_are_not_kept():
    """When the call is over, nothing of it stays."""

    class Big:
        made = 0

        def __init__(self):
            Big.made += 1

        def __del__(self):
            Big.made -= 1

    class Forget:
        def write(self, dictionary, serializer=None):
            pass

    previous = swap_logger(Forget())
    try:
        log_call(lambda big: Big())(Big())
    finally:
        swap_logger(previous)
    gc.collect()

    assert Big.made == 0
