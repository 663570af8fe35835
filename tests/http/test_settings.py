"""Settings: from the caller's dict, from the environment, and which of them counts."""

import dataclasses
import ssl
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.http._settings import FIELDS, Options, parse_flag, resolve, variable_of

# An option, a text for it, and what that text means.
VALUES = [
    ("debug", "1", True),
    ("port", "81", 81),
    ("address", "127.0.0.1", "127.0.0.1"),
    ("number_of_procs", "3", 3),
    ("unix_socket", "/run/shop.sock", "/run/shop.sock"),
    ("unix_socket_mode", "660", 0o660),
    ("reuse_port", "yes", True),
    ("backlog", "16", 16),
    ("shutdown_limit", "2.5", 2.5),
    ("wait_timeout", "0.05", 0.05),
    ("drain_delay", "5", 5.0),
    ("start_timeout", "0", 0.0),
    ("heartbeat_timeout", "12", 12.0),
    ("wait_for_on_start", "on", True),
    ("max_restarts", "3", 3),
    ("restart_window", "30", 30.0),
    ("max_requests", "1000", 1000),
    ("max_requests_jitter", "100", 100),
    ("max_lifetime", "3600", 3600.0),
    ("max_lifetime_jitter", "60", 60.0),
    ("max_memory", "1000000000", 10**9),
    ("max_connections", "512", 512),
    ("idle_timeout", "30", 30.0),
    ("header_timeout", "3", 3.0),
    ("body_timeout", "0", 0.0),
    ("max_header_size", "8192", 8192),
    ("max_header_count", "32", 32),
    ("pid_file", "/run/shop.pid", "/run/shop.pid"),
    ("preload", "TRUE", True),
    ("uvloop", "y", True),
    ("log_format", "console", "console"),
    ("collector", "logging.toml:production", "logging.toml:production"),
    ("collector_folder", "/var/lib/shop", "/var/lib/shop"),
    ("collector_heartbeat_timeout", "90", 90.0),
    ("tickets", "sqlite:///tickets.sqlite", "sqlite:///tickets.sqlite"),
    ("tickets_level", "critical", "CRITICAL"),
    ("tickets_leading_level", "Debug", "DEBUG"),
    ("log_actions", "no", False),
    ("xheaders", "off", False),
    ("continue_tasks", "no", False),
    ("max_body_size", "1024", 1024),
    ("max_buffer_size", "2048", 2048),
]
NAMES = [name for name, _, _ in VALUES]
STAY = ["debug", "xheaders", "continue_tasks", "max_body_size", "max_buffer_size"]
# What makes no sense as one or another option.
WRONG = [
    ("port", "http"),
    ("port", "-1"),
    ("port", "65536"),
    ("port", "80.5"),
    ("number_of_procs", "two"),
    ("unix_socket_mode", "rw"),
    ("unix_socket_mode", "999"),
    ("reuse_port", "perhaps"),
    ("backlog", "0"),
    ("shutdown_limit", "-1"),
    ("shutdown_limit", "soon"),
    ("wait_timeout", "nan"),
    ("drain_delay", "inf"),
    ("max_restarts", "0"),
    ("max_requests", "-5"),
    ("max_header_count", "0"),
    ("max_body_size", "1 MiB"),
    ("tickets_level", "loud"),
    ("xheaders", "maybe"),
]


def test_the_tables_here_know_every_option():
    """All but the one that no text can say."""
    assert {*NAMES, "ssl_options"} == set(FIELDS)


# -- flags


@pytest.mark.rule("H1.4", "H1.5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", True),
        ("2", True),
        ("-1", True),
        ("true", True),
        ("TRUE", True),
        ("Yes", True),
        ("oN", True),
        (" on\n", True),
        ("0", False),
        ("00", False),
        ("false", False),
        ("No", False),
        ("OFF", False),
        ("f", False),
    ],
)
def test_a_flag_is_a_number_or_a_word(text, expected):
    """Any number but zero is true; the words are the usual ones, in any case."""
    assert parse_flag(text) is expected


@pytest.mark.parametrize("text", ["perhaps", "1.5", "", " ", "yes no", "truee"])
def test_anything_else_is_no_flag(text):
    """The text says what was expected and what was given."""
    with pytest.raises(ValueError, match="expected a number, true/yes/on or false/no/off") as info:
        parse_flag(text)

    assert repr(text) in str(info.value)


@given(number=st.integers(-(10**20), 10**20))
def test_every_number_is_a_flag(number):
    """True unless it is zero."""
    assert parse_flag(str(number)) is (number != 0)


# -- debug


@pytest.mark.rule("H1.3", "H1.4", "H1.5")
@pytest.mark.parametrize(
    ("settings", "environ", "expected"),
    [
        ({}, {}, False),
        (None, {}, False),
        ({}, {"DEBUG": "1"}, True),
        ({}, {"DEBUG": "2"}, True),
        ({}, {"DEBUG": "0"}, False),
        ({}, {"DEBUG": ""}, False),
        ({}, {"DEBUG": "  "}, False),
        ({}, {"DEBUG": "true"}, True),
        ({}, {"DEBUG": "On"}, True),
        ({}, {"DEBUG": "no"}, False),
        ({"debug": 0}, {}, False),
        ({"debug": "yes"}, {}, True),
        ({"debug": []}, {}, False),
        ({"debug": 0}, {"DEBUG": "1"}, False),
        ({"debug": True}, {"DEBUG": "0"}, True),
        ({"debug": False}, {"DEBUG": "nonsense"}, False),
    ],
)
def test_debug_is_a_bool_that_the_factory_always_gets(settings, environ, expected):
    """The key beats the variable, which is then not looked at; a blank one is none."""
    options, keywords = resolve(settings, environ)

    assert options.debug is expected
    assert keywords == {"debug": expected}


@pytest.mark.rule("H1.5")
def test_a_debug_variable_that_makes_no_sense_is_named():
    """So is what it says."""
    with pytest.raises(ValueError, match="environment variable DEBUG: .*'nonsense'"):
        resolve({}, {"DEBUG": "nonsense"})


# -- the port


@pytest.mark.rule("H1.6", "H1.7")
@pytest.mark.parametrize(
    ("settings", "environ", "expected"),
    [
        ({}, {}, 8000),
        ({}, {"PORT": "8888"}, 8888),
        ({}, {"PORT": " 8888 "}, 8888),
        ({}, {"PORT": ""}, 8000),
        ({}, {"PORT": " "}, 8000),
        ({"port": 81}, {}, 81),
        ({"port": "81"}, {}, 81),
        ({"port": "81"}, {"PORT": "8888"}, 81),
        ({"port": 81}, {"PORT": "nonsense"}, 81),
        ({"port": 0}, {"PORT": "8888"}, 0),
        ({"port": None}, {}, 8000),
        ({"port": None}, {"PORT": "8888"}, 8888),
    ],
)
def test_the_port_is_the_settings_or_the_environments_or_8000(settings, environ, expected):
    """None and a blank variable say nothing; the factory is not told."""
    options, keywords = resolve(settings, environ)

    assert options.port == expected
    assert "port" not in keywords


@pytest.mark.rule("H1.7")
@pytest.mark.parametrize("text", ["http", "80.0", "-1", "70000", "0x50"])
def test_a_port_variable_that_makes_no_sense_is_named(text):
    """So is what it says."""
    with pytest.raises(ValueError, match="environment variable PORT: expected"):
        resolve({}, {"PORT": text})


# -- the number of processes


@pytest.mark.rule("H1.7", "H1.8")
@pytest.mark.parametrize(
    ("settings", "environ", "expected"),
    [
        ({}, {}, 0),
        ({"number_of_procs": None}, {}, 0),
        ({"number_of_procs": None}, {"SPROCKETS_NUMBER_OF_PROCS": "4"}, 4),
        ({"number_of_procs": "2"}, {}, 2),
        ({"number_of_procs": 2}, {"SPROCKETS_NUMBER_OF_PROCS": "4"}, 2),
        ({"number_of_procs": -1}, {}, -1),
    ],
)
def test_the_number_of_processes_is_0_unless_somebody_says_otherwise(settings, environ, expected):
    """The factory is not told."""
    options, keywords = resolve(settings, environ)

    assert options.number_of_procs == expected
    assert "number_of_procs" not in keywords


# -- all options alike


@pytest.mark.parametrize(("name", "text", "expected"), VALUES, ids=NAMES)
def test_every_option_is_a_key_and_a_variable(name, text, expected):
    """Text or not, from either place it comes out as the same value."""
    for settings, environ in [
        ({name: text}, {}),
        ({name: expected}, {}),
        ({}, {variable_of(name): text}),
        ({}, {variable_of(name): f" {text} "}),
    ]:
        options, _ = resolve(settings, environ)

        found = getattr(options, name)
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize(("name", "text", "expected"), VALUES, ids=NAMES)
def test_a_key_beats_its_variable_and_a_variable_the_default(name, text, expected):
    """The variable of a key that is given is not even looked at."""
    default = getattr(Options(), name)
    assert expected != default, "the table has to say something else"

    beaten, _ = resolve({name: expected}, {variable_of(name): "\x01nonsense"})
    beating, _ = resolve({}, {variable_of(name): text})
    absent, _ = resolve({}, {})

    assert getattr(beaten, name) == getattr(beating, name) == expected
    assert getattr(absent, name) == default


@pytest.mark.rule("H1.7")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "debug"])
def test_none_and_a_blank_variable_say_nothing(name):
    """The default counts."""
    options, _ = resolve({name: None}, {variable_of(name): " \t"})

    assert options == Options()


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_value_that_makes_no_sense_is_named_by_its_key(name, text):
    """As somebody would look for it in the program."""
    with pytest.raises(ValueError) as info:
        resolve({name: text}, {})

    assert str(info.value).startswith(f"settings[{name!r}]: expected ")


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_variable_that_makes_no_sense_is_named(name, text):
    """As somebody would look for it in the environment."""
    with pytest.raises(ValueError) as info:
        resolve({}, {variable_of(name): text})

    assert str(info.value).startswith(f"environment variable {variable_of(name)}: expected ")


@pytest.mark.parametrize("value", [object(), [], {}, (1,)])
@pytest.mark.parametrize("name", ["port", "number_of_procs", "shutdown_limit", "max_memory"])
def test_a_value_of_a_wrong_type_is_an_error_of_the_value(name, value):
    """And the key is named."""
    with pytest.raises(ValueError, match=f"settings\\['{name}'\\]: expected"):
        resolve({name: value}, {})


@pytest.mark.parametrize(
    ("name", "value"), [("port", float("inf")), ("wait_timeout", 10**400)], ids=["port", "time"]
)
def test_a_number_that_is_out_of_all_bounds_is_named_too(name, value):
    """It is as wrong as one just beyond them."""
    with pytest.raises(ValueError, match=f"settings\\['{name}'\\]: expected"):
        resolve({name: value}, {})


def test_variables_are_called_as_the_options_with_a_prefix():
    """But for the three that others use as well."""
    names = {name: variable_of(name) for name in FIELDS}

    assert (names.pop("debug"), names.pop("port")) == ("DEBUG", "PORT")
    assert names.pop("log_format") == "LOG_FORMAT"
    assert all(variable == f"SPROCKETS_{name.upper()}" for name, variable in names.items())


def test_certificates_cannot_be_put_into_a_variable():
    """The dict or context of the caller is taken as it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    options, keywords = resolve({"ssl_options": context}, {})
    without, _ = resolve({}, {"SPROCKETS_SSL_OPTIONS": "{}"})

    assert options.ssl_options is context
    assert keywords == {"debug": False}
    assert without.ssl_options is None


def test_permissions_are_octal_where_they_are_text():
    """A number is a number."""
    text, _ = resolve({"unix_socket_mode": "660"}, {})
    number, _ = resolve({"unix_socket_mode": 0o660}, {})

    assert text.unix_socket_mode == number.unix_socket_mode == 0o660


# -- what the factory gets


@pytest.mark.rule("H1.1")
@pytest.mark.parametrize(("name", "text", "expected"), VALUES, ids=NAMES)
def test_the_factory_gets_what_is_not_the_runners_own(name, text, expected):
    """Also where a variable said so; what no one has said is not there."""
    _, from_settings = resolve({name: expected, "own": 1}, {})
    _, from_environment = resolve({"own": 1}, {variable_of(name): text})

    wanted = {"own": 1, "debug": False}
    if name in STAY:
        wanted[name] = expected
    assert from_settings == from_environment == wanted


@pytest.mark.parametrize(
    ("name", "text", "expected"), [value for value in VALUES if value[0] in STAY[1:]]
)
def test_the_factory_gets_values_not_texts(name, text, expected):
    """The server is made from what the application has in its settings."""
    _, keywords = resolve({name: text}, {})

    assert keywords[name] == expected


@pytest.mark.rule("H1.2")
@given(
    settings=st.dictionaries(
        st.sampled_from(["debug", "port", "number_of_procs", "xheaders", "cookie_secret"]),
        st.sampled_from([None, 1, 0]),
    )
)
def test_what_the_caller_has_given_is_never_changed(settings):
    """It may even be a mapping that cannot be."""
    before = dict(settings)

    _, keywords = resolve(MappingProxyType(settings), {"PORT": "1", "SPROCKETS_XHEADERS": "0"})

    assert settings == before
    assert keywords is not settings
    assert keywords.keys() - {"debug", "xheaders"} == settings.keys() - {
        *("debug", "port", "number_of_procs", "xheaders")
    }
    assert type(keywords["debug"]) is bool


@given(
    name=st.sampled_from(NAMES),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
def test_any_text_in_a_variable_is_a_value_or_a_clear_error(name, text):
    """Never an exception of another kind, and never a value of another type."""
    wrong = ""
    options = Options()
    try:
        options, _ = resolve({}, {variable_of(name): text})
    except ValueError as error:
        wrong = str(error)

    expected = next(value for each, _, value in VALUES if each == name)
    found = getattr(options, name)
    assert not wrong or wrong.startswith(f"environment variable {variable_of(name)}: ")
    assert found == getattr(Options(), name) or type(found) is type(expected)


def test_options_cannot_be_changed_and_have_a_help_text_each():
    """Somebody prints them."""
    options = Options()

    with pytest.raises(dataclasses.FrozenInstanceError):
        options.port = 1
    assert all(each.metadata["help"] for each in FIELDS.values())
