"""How much memory another process held at most (Linux: proc(5), /proc/PID/status and /proc/PID/clear_refs)."""

import re
from pathlib import Path


def forget_peak(pid: int) -> float:
    """Begin to measure anew; returns the megabytes that the process holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _megabytes(pid, "VmRSS")


def peak_megabytes(pid: int) -> float:
    """Return the most that it held since then, in megabytes."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6
