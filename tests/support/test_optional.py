"""Optional libraries: imported, or the error says what to install."""

import json.decoder
import sys

import pytest

from sprockets._support import MissingDependency, optional


def test_what_is_there_is_imported():
    """A library that is installed comes back as the module asked for."""
    assert optional("json.decoder", extra="json", needed_by="Thing") is json.decoder


@pytest.mark.parametrize("kind", [ImportError, RuntimeError, MissingDependency])
def test_what_is_missing_can_be_caught_as_either_error(kind: type[Exception]):
    """Who knew it as RuntimeError and who thinks ImportError both catch it."""
    with pytest.raises(kind):
        optional("sprockets_no_such_library", extra="redis", needed_by="RedisHandler")


def test_what_is_missing_is_named_with_the_extra_that_brings_it():
    """The text says who needs what, and the command that cures it."""
    with pytest.raises(MissingDependency) as caught:
        optional("sprockets_no_such_library.client", extra="redis", needed_by="RedisHandler")

    assert str(caught.value) == (
        "RedisHandler needs 'sprockets_no_such_library';"
        " install it with: pip install 'sprockets.http[redis]'"
    )
    assert caught.value.name == "sprockets_no_such_library"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_what_is_broken_is_not_called_missing(tmp_path, monkeypatch):
    """A library that is installed and fails says why it failed."""
    (tmp_path / "sprockets_broken.py").write_text("import sprockets_of_the_broken")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        MissingDependency, match="'sprockets_broken', which fails to import"
    ) as info:
        optional("sprockets_broken", extra="broken", needed_by="Thing")

    assert "No module named 'sprockets_of_the_broken'" in str(info.value)


def test_other_errors_of_a_library_pass(tmp_path, monkeypatch):
    """An error that is no ImportError is the library's own affair."""
    (tmp_path / "sprockets_faulty.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ZeroDivisionError):
        optional("sprockets_faulty", extra="faulty", needed_by="Thing")


def test_a_module_blocked_on_purpose_counts_as_missing(monkeypatch):
    """None in sys.modules, the usual way to play an absent library, reads as absent."""
    monkeypatch.setitem(sys.modules, "sprockets_blocked", None)

    with pytest.raises(MissingDependency, match="^Thing needs 'sprockets_blocked'; install it"):
        optional("sprockets_blocked", extra="blocked", needed_by="Thing")
