"""Log files of the processes: bounded, written by the processes themselves."""

import os
import shutil
from collections import deque
from pathlib import Path

LIMIT_BYTES = 16 * 1024 * 1024
"""A log that grows beyond this becomes the older half of the pair; with its predecessor, twice this is kept."""
TAIL_LINES = 20
TAIL_BYTES = 8 * 1024


class ProcessLog:
    """A process's log, and the one before it under `.1`.

    The process holds the file open for appending, so nothing of ours stands between it and the disk.
    """

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        self.path = path
        self._older = path.with_name(path.name + ".1")
        self._limit = limit

    def rotate(self) -> None:
        """Begins a new log. Called before the process starts."""
        if self.path.exists():
            self.path.replace(self._older)

    def open(self) -> int:
        """Returns a descriptor for a process to append to; the caller closes its copy."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def size(self) -> int:
        """Bytes written so far: where the next line will stand."""
        return self.path.stat().st_size if self.path.exists() else 0

    def trim(self) -> None:
        """Moves the contents to the older log when they have outgrown the limit.

        The process keeps its descriptor, so the file is copied and emptied; a line that is written in between is lost.
        """
        if self.size() > self._limit:
            shutil.copyfile(self.path, self._older)
            os.truncate(self.path, 0)

    def tail(self, start: int = 0) -> list[str]:
        """Returns the last lines, 20 at most, of what was written after byte `start`."""
        size = self.size()
        begin = 0 if start > size else start
        with self.path.open("rb") as file:
            file.seek(max(begin, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode(errors="replace")
        return list(deque((line for line in text.splitlines() if line.strip()), maxlen=TAIL_LINES))
