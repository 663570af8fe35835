"""The model of a store keeps the promises of stores; so it may be asked what others should do."""

import pytest

from tests.logbook.ticketing.contract import StoreContract
from tests.logbook.ticketing.model import DictStore
from tests.logbook.ticketing.walking import walk


class TestDictStore(StoreContract):
    """The store in dicts."""

    @pytest.fixture(name="make_store")
    def _make_store(self):
        store = DictStore()
        return lambda: store


def test_the_model_does_what_the_model_does():
    """The walk of stores through random steps goes where it should, and ends."""
    walk(DictStore)


def test_a_store_that_forgets_to_reopen_is_found_out():
    """The walk can fail."""

    class Forgetful(DictStore):
        def _what_it_is(self, entry, ticket_id):
            return "again"

    with pytest.raises(AssertionError):
        walk(Forgetful)
