"""Fingerprints: the same bug is the same at another line, and two bugs on one line are two."""

import json
import linecache
import os
import random
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import Logger, LogRecord, TestHandler
from sprockets.logbook.ticketing import Fingerprinter, Rule, fingerprint
from sprockets.logbook.ticketing._fingerprint_messages import without_variables
from sprockets.logbook.ticketing._fingerprint_traceback import MAX_TEXT, sections_of

log = Logger("shop")


def caught(function, *args):
    """Return the record that logging what *function* raises makes."""
    with TestHandler() as handler:
        try:
            function(*args)
        except Exception:
            log.exception("failed")
    (record,) = handler.records
    record.pull_information()
    return record


def defined(source, filename="/srv/shop/orders.py", **names):
    """Return the names that *source* defines, which tracebacks show as being in *filename*."""
    source = textwrap.dedent(source)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace = {"__name__": "shop.orders", "log": log, **names}
    exec(compile(source, filename, "exec"), namespace)
    return namespace


# --- ten thousand errors --------------------------------------------------------------------------

ERRORS = ("KeyError", "ValueError", "RuntimeError", "LookupError", "OSError")


def bugs_of(number):
    """Return the source of some functions, and which calls of them show which bugs."""
    n = f"{number:02}"
    source = {
        f"find_{n}": f"""
            def find_{n}(prices, name):
                price_{n} = prices[name]
                return price_{n}
        """,
        f"share_{n}": f"""
            def share_{n}(text, parts):
                return int(text) // parts + {number}
        """,
        f"pay_{n}": f"""
            def pay_{n}(amount):
                try:
                    check_{n}(amount)
                except ArithmeticError as error:
                    raise {ERRORS[number % 5]}(f"cannot pay {{amount}}") from error

            def check_{n}(amount):
                return [amount / part for part in (1, 0)]
        """,
        f"tell_{n}": f"""
            def tell_{n}(flag, name):
                log.error("no {n} for {{}}", name) if flag else log.error("{n} off: {{}}", name)
        """,
    }
    calls = {
        f"key {n}": (f"find_{n}", lambda seed: ({}, f"name {seed}")),
        f"value {n}": (f"share_{n}", lambda seed: (f"x{seed}", 1)),
        f"zero {n}": (f"share_{n}", lambda seed: ("1", 0)),
        f"paid {n}": (f"pay_{n}", lambda seed: (seed,)),
        f"told {n}": (f"tell_{n}", lambda seed: (True, f"customer {seed}")),
        f"off {n}": (f"tell_{n}", lambda seed: (False, f"customer {seed}")),
    }
    return source, calls


def shifted(sources, chance):
    """Return a module with *sources* in any order, and anything between them."""
    parts = [textwrap.dedent(source) for source in sources]
    chance.shuffle(parts)
    lines = []
    for part in parts:
        lines += ["\n"] * chance.randrange(5)
        lines += [f"# note {chance.random()}\n"] * chance.randrange(3)
        lines += [f"other_{chance.randrange(10**9)} = 1\n"] * chance.randrange(2)
        lines.append(part)
    return "".join(lines)


def test_of_ten_thousand_errors_each_bug_has_one_fingerprint_wherever_its_lines_are(tmp_path):
    """102 bugs, two or more on some lines, in 100 releases of a module whose lines have moved."""
    chance = random.Random(7)
    sources, bugs = {}, {}
    for number in range(17):
        source, calls = bugs_of(number)
        sources |= source
        bugs |= calls
    found = {bug: set() for bug in bugs}
    count = 0
    for release in range(100):
        path = tmp_path / f"release-{release}" / "shop" / "orders.py"
        path.parent.mkdir(parents=True)
        path.write_text(shifted(list(sources.values()), chance))
        namespace = {"__name__": "shop.orders", "log": log}
        exec(compile(path.read_text(), str(path), "exec"), namespace)
        for bug, (name, make_args) in bugs.items():
            with TestHandler() as handler:
                try:
                    namespace[name](*make_args(chance.randrange(10**6)))
                except Exception:
                    log.exception("failed")
            (record,) = handler.records
            found[bug].add(fingerprint(record))
            count += 1

    assert count == 10_200
    assert {bug: len(fingerprints) for bug, fingerprints in found.items()} == dict.fromkeys(bugs, 1)
    assert len(set.union(*found.values())) == len(bugs) == 102


# --- always the same ------------------------------------------------------------------------------

CASES = """
def look_up(prices, first, second):
    return prices[first] + prices[second]

def shares(parts):
    return [1 / part for part in parts]

def spread(parts):
    return {
        part: 1 / part
        for part in parts
    }

def deep(number):
    return deep(number + 1)

def even(number):
    if number == 0: raise LookupError(number)
    return odd(number - 1)

def odd(number):
    return even(number - 1)

def chained():
    try:
        shares([0])
    except ZeroDivisionError as error:
        raise ValueError("no shares") from error

def while_handling():
    try:
        look_up({}, "a", "b")
    except KeyError:
        shares([0])

def grouped(count):
    errors = []
    for _ in range(count):
        try:
            shares([0])
        except ZeroDivisionError as error:
            errors.append(error)
    try:
        look_up({}, "a", "b")
    except KeyError as error:
        errors.append(error)
    raise ExceptionGroup("some", errors)

def over_lines(name):
    return int(
        name,
        10,
    )

class Order:
    def pay(self, amount):
        return self.account.draw(amount) if amount else None

def noted():
    error = ValueError("with a note")
    error.add_note("Traceback (most recent call last):")
    raise error

def called(function, *args):
    function(*args)
"""

PINNED = {
    "first": ("look_up", ({"b": 1}, "a", "b")),
    "second": ("look_up", ({"a": 1}, "a", "b")),
    "comprehension": ("shares", ([0],)),
    "comprehension over lines": ("spread", ([0],)),
    "recursion": ("deep", (1,)),
    "mutual recursion": ("even", (8,)),
    "chained": ("chained", ()),
    "while handling": ("while_handling", ()),
    "grouped": ("grouped", (2,)),
    "over lines": ("over_lines", ("x",)),
    "noted": ("noted", ()),
}


def digests():
    names = defined(CASES)
    made = {
        case: fingerprint(caught(names["called"], names[name], *args))
        for case, (name, args) in PINNED.items()
    }
    made["attribute"] = fingerprint(caught(names["called"], names["Order"]().pay, 5))
    return made


EXPECTED = {
    "first": "v1:fbdca1bf0a4fa589a93a8cda9cc86f5adcb16120",
    "second": "v1:c3dd761c43487826edef1899bb04671424c6b572",
    "comprehension": "v1:e2064b3e64add8c5b3e3476fff5e3b2b4383e91e",
    "comprehension over lines": "v1:7e024fff46cdb3d7b4a46fa4f2fcf58bd38dc368",
    "recursion": "v1:e6bf8d6451cec6975c72aeba1e392ea0fc7d7cbf",
    "mutual recursion": "v1:14dbd1332a399bdca54473b9186e3f784a436184",
    "chained": "v1:a2eeddba5b030ae729b9e8b622d26958e466cec5",
    "while handling": "v1:2b4392bb75dd5719f8b505df92d71510249a2514",
    "grouped": "v1:b008a8a1b91b5975a24aca8c30f09e4c93f215a6",
    "over lines": "v1:f08912b68b7e4a67a9e7265ae7351a8ab4ba0b93",
    "noted": "v1:1411d650789db26987b71d8be92f5d80e41d2742",
    "attribute": "v1:49c38ec0505157c17b4f9d7f506da0872a8412b4",
}


@pytest.mark.parametrize("case", [*PINNED, "attribute"])
def test_a_fingerprint_is_the_same_in_every_release_of_python(case):
    """Stores outlive interpreters; a change of these digests splits every ticket in two."""
    assert digests()[case] == EXPECTED[case]


def test_a_fingerprint_is_the_same_in_every_process():
    """Nothing of it depends on the order of sets, or on the seed of hashes."""
    code = (
        "import json, sys; sys.path.append(sys.argv[1]); import test_fingerprint as t; "
        "print(json.dumps(t.digests()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, os.path.dirname(__file__)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }

    assert found == {json.dumps(digests()) + "\n"}


def test_a_fingerprint_says_which_version_it_is():
    """Forty hexadecimal digits behind it."""
    version, _, digest = fingerprint(LogRecord("shop", "ERROR", "m")).partition(":")

    assert version == "v1"
    assert len(digest) == 40
    assert set(digest) <= set("0123456789abcdef")


@pytest.mark.parametrize("case", [*PINNED, "message", "template"])
def test_a_record_from_a_queue_has_the_fingerprint_it_had_before(case):
    """The text of the traceback is all that is read."""
    if case in PINNED:
        names = defined(CASES)
        name, args = PINNED[case]
        record = caught(names["called"], names[name], *args)
    else:
        with TestHandler() as handler:
            log.error("no price of {}", *(("apples",) if case == "template" else ()))
        (record,) = handler.records

    assert Fingerprinter().of_json(record.to_json()) == fingerprint(record)
    assert fingerprint(LogRecord.from_json(record.to_json())) == fingerprint(record)


# --- what is one and what is not ------------------------------------------------------------------


def test_two_failures_on_one_line_are_two_though_their_class_is_the_same():
    """Python says which part of the line it was."""
    found = digests()

    assert found["first"] != found["second"]


@pytest.mark.parametrize("name", ["even", "deep"])
def test_how_deep_a_recursion_was_does_not_matter(name):
    """Neither do the calls that happened to be the last before the limit."""
    names = defined(CASES)
    limit = sys.getrecursionlimit()
    found = set()
    try:
        for depth in (0, 1, 2, 3, 50):
            sys.setrecursionlimit(400 + depth)
            found.add(fingerprint(caught(names["called"], names[name], 2 * depth + 4)))
    finally:
        sys.setrecursionlimit(limit)

    assert len(found) == 1


def test_where_a_recursion_ends_that_goes_through_helpers_does_not_matter():
    """The limit may be hit in any of them."""
    names = defined(
        """
        def walk(node):
            visit(node)
            return walk(node + 1)

        def visit(node):
            return describe(node)

        def describe(node):
            return str(node)
        """
    )
    limit = sys.getrecursionlimit()
    found = set()
    try:
        for depth in range(6):
            sys.setrecursionlimit(400 + depth)
            found.add(fingerprint(caught(names["walk"], 1)))
    finally:
        sys.setrecursionlimit(limit)

    assert len(found) == 1


def test_how_many_of_a_group_failed_alike_does_not_matter():
    """Each kind of failure counts once."""
    names = defined(CASES)

    found = {fingerprint(caught(names["called"], names["grouped"], count)) for count in (1, 2, 5)}

    assert len(found) == 1


TRACEBACK = """Traceback (most recent call last):
  File "{main}", line 3, in serve
    pay(order)
  File "{library}", line 70, in draw
    return self._draw(amount)
ValueError: no money"""


def from_text(text, **facts):
    facts = {"level": 14, "msg": "m", "formatted_exception": text, **facts}
    return LogRecord.from_dict(facts)


def test_other_peoples_code_does_not_matter():
    """A new release of a library, or of Python, is no new bug."""
    found = {
        fingerprint(from_text(TRACEBACK.format(main="/srv/shop/orders.py", library=library)))
        for library in (
            "/usr/lib/python3.11/http/client.py",
            "/usr/lib/python3/dist-packages/requests/api.py",
            "/srv/venv/lib/python3.13/site-packages/bank/client.py",
            "/srv/venv/lib64/python3.12/site-packages/bank/other.py",
            "C:\\Python311\\Lib\\http\\client.py",
            "<frozen importlib._bootstrap>",
        )
    }

    assert len(found) == 1


def test_where_there_is_nothing_else_other_peoples_code_does_matter():
    """Else all failures within a framework would be one."""

    def of(library):
        return fingerprint(
            from_text(TRACEBACK.format(main=library, library="/usr/lib/python3.11/runpy.py"))
        )

    installed = "/usr/lib/python3.11/site-packages/"

    assert of(f"{installed}a/b.py") != of(f"{installed}a/c.py")


def test_where_the_program_is_installed_does_not_matter():
    """Folders above a module's, and numbers in its folder, differ from release to release."""
    found = {
        fingerprint(from_text(TRACEBACK.format(main=main, library="/usr/lib/python3.11/x.py")))
        for main in (
            "/srv/1/shop-1.2/orders.py",
            "/home/ann/shop-1.3/orders.py",
            "D:\\shop-22.0\\orders.py",
        )
    }

    assert len(found) == 1


def test_one_says_which_installed_packages_are_own():
    """By name, or by a pattern; and which are not, though they look like it."""
    main = "/venv/lib/python3.11/site-packages/shop/orders.py"
    text = TRACEBACK.format(main=main, library="/venv/lib/python3.11/site-packages/bank/api.py")
    alike = text.replace("self._draw(amount)", "self.changed(amount)")

    for in_app in (["shop"], ["*/site-packages/shop/*"], ["shop.orders"], ["!bank", "*"]):
        make = Fingerprinter(in_app=in_app)
        assert make(from_text(text)) == make(from_text(alike))
    assert fingerprint(from_text(text)) != fingerprint(from_text(alike))
    make = Fingerprinter(in_app=["!vendored", "bank"])
    vendored = text.replace(main, "/srv/vendored/x.py")
    assert make(from_text(vendored)) == make(from_text(vendored.replace("pay(", "buy(")))


@pytest.mark.parametrize(
    "change",
    [
        {"msg": "another {}"},
        {"channel": "other"},
        {"level": 15},
        {"module": "other"},
        {"func_name": "other"},
    ],
)
def test_without_an_exception_the_call_and_the_template_matter(change):
    """Arguments, line and file do not."""
    facts = {
        "level": 14,
        "channel": "shop",
        "msg": "no price of {}",
        "args": ["apples"],
        "module": "shop.orders",
        "func_name": "price",
        "lineno": 7,
        "filename": "/srv/shop/orders.py",
    }
    first = fingerprint(LogRecord.from_dict(facts))

    moved = {"args": ["pears"], "lineno": 8, "filename": "/home/shop/orders.py", "time": None}
    assert fingerprint(LogRecord.from_dict(facts | moved)) == first
    assert fingerprint(LogRecord.from_dict(facts | change)) != first


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("user 'ann' has 3 orders", "user <quoted> has <number> orders"),
        ('file "a b.txt" is gone', "file <quoted> is gone"),
        ("it's bob's turn", "it's bob's turn"),
        ("disk at 0x7ffe is 99.5% full", "disk at <number> is <number>% full"),
        ("commit deadbeef12 by joe", "commit <number> by joe"),
        ("a facade of decades", "a facade of decades"),
        ("order 550e8400-e29b-41d4-a716-446655440000 lost", "order <id> lost"),
        ("since 2024-01-02T03:04:05.678Z", "since <time>"),
        ("since 2024-01-02 03:04", "since <time>"),
        ("at 12:30:11", "at <time>"),
        ("ann@example.org wrote", "<email> wrote"),
        ("GET https://example.org/a?b=1 failed", "GET <url> failed"),
        ("peer 10.0.0.1:8080 left", "peer <address> left"),
        ("peer fe80::1 and ::1 left", "peer <address> and <address> left"),
        ("no /var/log/x.log", "no <path>"),
        ("no ./x/y or ~/z or C:\\Temp\\x", "no <path> or <path> or <path>"),
        ("this and/or that", "this and/or that"),
        ("took 12ms for item42", "took <number>ms for item<number>"),
        ("-5 of 1,000,000", "<number> of <number>"),
        ("a\n   b\tc", "a b c"),
        ("Größe 5", "Größe <number>"),
        ("", ""),
    ],
)
def test_of_a_message_without_arguments_what_varies_is_left_out(message, expected):
    """Whoever formats before logging has one ticket too."""
    assert without_variables(message) == expected
    assert fingerprint(LogRecord("a", "INFO", message)) == fingerprint(
        LogRecord("a", "INFO", expected)
    )


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({"exception": "KeyError"}, True),
        ({"exception": "builtins.*"}, True),
        ({"exception": "ValueError"}, False),
        ({"channel": "shop.*"}, True),
        ({"channel": "shop"}, False),
        ({"message": "*lost*"}, True),
        ({"message": "*'apples'*"}, True),
        ({"message": "found"}, False),
        ({"module": "shop.?rders"}, True),
        ({"exception": "KeyError", "channel": "other"}, False),
    ],
)
def test_a_rule_says_what_belongs_together(conditions, matches):
    """All its conditions are met; a mapping does as well."""
    record = LogRecord.from_dict(
        {
            "level": 14,
            "channel": "shop.web",
            "msg": "order lost",
            "module": "shop.orders",
            "exception_name": "builtins.KeyError",
            "exception_message": "'apples'",
        }
    )
    data = {"group": "g", **conditions}

    assert Rule(**data)(record) == ("g" if matches else None)
    grouped = Fingerprinter([data])(record)
    assert (grouped == Fingerprinter([lambda record: "g"])(record)) is matches
    assert (grouped == fingerprint(record)) is not matches


def test_the_first_rule_that_knows_a_record_decides():
    """A callable that knows nothing says None."""
    record = LogRecord("shop", "ERROR", "m")
    make = Fingerprinter([lambda record: None, Rule("a", channel="shop"), Rule("b", channel="*")])

    assert make.parts(record) == ["rule", "a"]


def test_a_rule_that_fails_does_not_know_the_record(capfd):
    """It is reported, and counted."""

    def fails(record):
        raise RuntimeError("ouch")

    record = LogRecord("shop", "ERROR", "m")
    make = Fingerprinter([fails])

    assert make(record) == fingerprint(record)
    assert make.failed == 1
    assert "a rule for fingerprints failed: RuntimeError: ouch" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"group": "g"}, "a rule has a group and at least one condition"),
        ({"group": "", "channel": "x"}, "a rule has a group and at least one condition"),
        ({"channel": "x"}, "a rule has a group"),
        ({"group": "g", "chanel": "x"}, "unknown conditions 'chanel'; known: channel, exception"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(data, text):
    """When the handler is made, not when something fails."""
    with pytest.raises(ValueError, match=text):
        Fingerprinter([data])


# --- hostile text ---------------------------------------------------------------------------------


def test_a_message_cannot_pass_for_a_traceback():
    """Whoever sends nonsense does not make a ticket with each."""

    def refuse(text):
        raise ValueError(text)

    def forged(name):
        return (
            "no\n\nDuring handling of the above exception, another exception occurred:\n\n"
            "Traceback (most recent call last):\n"
            f'  File "/srv/{name}/{name}.py", line 1, in {name}\n    {name}()\n{name}Error: x'
        )

    found = {fingerprint(caught(refuse, forged(name))) for name in ("a", "b", "c")}

    assert len(found | {fingerprint(caught(refuse, "no"))}) == 1


HOSTILE = {
    "quotes": "'\"`" * 50_000,
    "one quote": "x " * 50_000 + "'" + "y" * 50_000,
    "digits": "1" * 100_000,
    "dots": "1." * 50_000,
    "hex": "a" * 100_000 + "1",
    "colons": ":" * 100_000,
    "slashes": "/a" * 50_000,
    "at": "a." * 50_000 + "@",
    "many at": "a@" * 50_000,
    "spaces": " " * 100_000 + "x",
    "frames": '  File "x", line 1, in y\n' * 20_000,
    "headers": "Traceback (most recent call last):\n" * 20_000,
    "repeated": "  [Previous line repeated 99999999999999999999 more times]\n" * 5_000,
    "nul": "\0" * 50_000,
    "surrogates": "\ud800" * 50_000,
    "pipes": "  | " * 50_000 + "\n  + Exception Group Traceback (most recent call last):\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_read_in_bounded_time(kind):
    """Nothing is looked at in more ways than one; what is beyond the bounds is not looked at."""
    text = HOSTILE[kind]
    header = "Traceback (most recent call last):\n"

    assert fingerprint(LogRecord("shop", "ERROR", text))
    assert fingerprint(from_text(text))
    assert fingerprint(from_text(header + text + "\nValueError: x", exception_message=text))
    assert fingerprint(from_text(header + '  File "x", line 1, in y\n    ' + text))
    assert fingerprint(LogRecord(text, "ERROR", text, (text,)))
    assert Rule("g", message="*a*b*c*d*e*f*")(LogRecord("shop", "ERROR", text)) is None


def test_of_a_long_traceback_begin_and_end_are_read():
    """What is between does not matter."""
    middle = '  File "/srv/shop/a.py", line 1, in f\n    f()\n'
    text = "Traceback (most recent call last):\n" + middle * 20_000 + "ValueError: x"

    (section,) = sections_of(text)

    assert len(text) > 2 * MAX_TEXT
    assert section.type == "ValueError"


@settings(max_examples=200)
@given(st.text(), st.text(), st.none() | st.text())
def test_any_record_has_a_fingerprint(message, traceback, exception):
    """Whatever its text is, also after a journey."""
    record = from_text(traceback, msg=message, exception_message=exception)

    assert fingerprint(record) == fingerprint(LogRecord.from_json(record.to_json()))


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(
            (
                *("msg", "channel", "module", "func_name", "formatted_exception"),
                *("exception_name", "exception_message", "message", "args", "level", "extra"),
            )
        ),
        st.none() | st.integers() | st.binary() | st.lists(st.integers()) | st.text(max_size=9),
    )
)
def test_a_record_made_of_anything_has_a_fingerprint(facts):
    """Also where nothing is of its kind."""
    rules = [{"group": "g", "exception": "x", "channel": "x", "module": "x", "message": "x"}]

    assert Fingerprinter(rules)(LogRecord.from_dict(facts)).startswith("v1:")


lines = st.sampled_from(
    [
        "Traceback (most recent call last):",
        "  + Exception Group Traceback (most recent call last):",
        '  File "/srv/a.py", line 1, in f',
        "    f()",
        "    ~~^",
        "  [Previous line repeated 5 more times]",
        "ValueError: x",
        "  | ValueError: x",
        "  +-+---------------- 1 ----------------",
        "",
        "The above exception was the direct cause of the following exception:",
        "  File broken",
        "    ^^^^^",
        "\udc80",
    ]
)


@settings(max_examples=300)
@given(st.lists(lines, max_size=30))
def test_any_text_like_a_traceback_can_be_read(parts):
    """Torn, doubled, out of order."""
    for section in sections_of("\n".join(parts)):
        assert isinstance(section.type, str)
    assert fingerprint(from_text("\n".join(parts)))


def test_what_is_no_json_has_a_fingerprint():
    """Stores may hand out anything."""
    assert Fingerprinter().of_json("nothing").startswith("v1:")
    assert Fingerprinter().of_json("[" * 100_000).startswith("v1:")
    assert Fingerprinter().of_json('{"exception_name": "a.B"}').startswith("v1:")
