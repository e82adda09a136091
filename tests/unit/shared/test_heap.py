"""Behaviour of shared/heap.py."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from shared.heap import loading, settle


class Kept:
    """Part of a circle."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_loaded_is_out_of_the_collectors_rounds() -> None:
    with loading():
        assert not gc.isenabled()
        kept = Kept()
    assert gc.isenabled()
    gone = weakref.ref(kept)
    del kept
    gc.collect()
    assert gone() is not None


def test_what_was_set_aside_and_died_is_freed_when_the_next_is() -> None:
    with loading():
        kept = Kept()
    gone = weakref.ref(kept)
    del kept
    settle()
    assert gone() is None
    assert gc.get_freeze_count() > 1000


def test_the_collector_is_back_when_loading_failed() -> None:
    with pytest.raises(ValueError, match="torn"), loading():
        raise ValueError("torn")
    assert gc.isenabled()
