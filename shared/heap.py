"""What a process loads for good, kept out of the garbage collector's rounds."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Has the block load what the process keeps, such as thousands of routes, without the collector.

    It would walk all of that again and again, while it is made and later for requests that leave next to nothing.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def settle() -> None:
    """Sets aside what is alive now: once a process serves, and where what was loaded has changed.

    Garbage among what was set aside is freed. Looking through all of that again would stop every call for as long as
    0.2 s. Takes some 100 ms for a million objects, in which nothing else runs.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
