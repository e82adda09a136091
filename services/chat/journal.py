"""A file of the calls under way: what a killed process leaves in it is found by the next sweep of any other.

A page of memory that the kernel keeps is enough for that: the file outlives the process, however that ends, but it is
not waited for on its way to the disk, so it does not outlive the machine.
"""

import contextlib
import datetime as dt
import fcntl
import os
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from services.chat.ledger import Opening

SLOT_BYTES = 1024
"""Room for a call. One with an uncommonly long name or id goes to the database at once instead."""
MAX_SLOTS = 4096
SUFFIX = ".calls"


class Journal:
    """This process's file. Places are reused; what an earlier call left in one is known by its id to be booked.

    The file is locked as long as the process lives, which tells it from one that was left behind. Raises OSError when
    the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        self.path = folder / f"{name}{SUFFIX}"
        # Locked before it has its name: nobody else finds it without the lock.
        nameless = folder / f".{name}"
        self._file = os.open(nameless, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        nameless.rename(self.path)
        self._free: list[int] = []
        self._slots = 0

    def write(self, opening: Opening) -> int | None:
        """Writes a call down and returns its place; None where there is no room for it. Raises OSError."""
        record = orjson.dumps(
            [
                opening.id,
                opening.created_at,
                opening.user_id,
                opening.api_key_id,
                opening.request_id,
                opening.operation,
                opening.provider,
                opening.model,
                opening.is_stream,
            ],
            option=orjson.OPT_APPEND_NEWLINE,
        )
        if len(record) > SLOT_BYTES or (not self._free and self._slots >= MAX_SLOTS):
            return None
        slot = self._free.pop() if self._free else self._slots
        os.pwrite(self._file, record, slot * SLOT_BYTES)
        self._slots = max(self._slots, slot + 1)
        return slot

    def free(self, slot: int) -> None:
        """Gives a place back: its call is in the database now."""
        self._free.append(slot)

    def close(self) -> None:
        """Removes the file. Everything in it has to be in the database."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What the file of a process holds that is gone: calls that may be in the database, too. Their leases are over."""

    path: Path
    openings: list[Opening]


def left_behind(folder: Path) -> Generator[LeftBehind]:
    """Yields the files whose processes are gone. While one is looked at nobody else gets it, and then it is removed.

    A failure of whoever looks at it leaves it where it is.
    """
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process was first
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            with os.fdopen(os.dup(file), "rb") as content:
                slots = content.read(MAX_SLOTS * SLOT_BYTES)
            yield LeftBehind(path, list(_openings(slots)))
            path.unlink(missing_ok=True)
        finally:
            os.close(file)


def _openings(slots: bytes) -> Iterator[Opening]:
    for start in range(0, len(slots), SLOT_BYTES):
        record = slots[start : start + SLOT_BYTES].partition(b"\n")[0]
        # A process that was killed while it wrote had dispatched nothing.
        with contextlib.suppress(ValueError, TypeError):
            yield _opening(*orjson.loads(record))


def _opening(
    call_id: str,
    created_at: str,
    user_id: str,
    key_id: str | None,
    request_id: str,
    operation: str,
    provider: str,
    model: str,
    is_stream: bool,
) -> Opening:
    began = dt.datetime.fromisoformat(created_at)
    return Opening(
        id=uuid.UUID(call_id),
        created_at=began,
        lease_until=began,
        user_id=uuid.UUID(user_id),
        api_key_id=uuid.UUID(key_id) if key_id else None,
        request_id=request_id,
        operation=operation,
        provider=provider,
        model=model,
        is_stream=is_stream,
    )
