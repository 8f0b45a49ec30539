"""What a running process has used so far, read from /proc (Linux)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_BYTES_PER_MB: Final = 1_000_000


def cpu_s(pid: int) -> float:
    """Processor seconds, user and system, of `pid` and the processes it started."""
    used = 0.0
    for each in family(pid):
        # The name may contain anything but ends with the last bracket; after it come state (field 3), ..., utime (14).
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        used += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return used


def memory_mb(pid: int) -> float:
    """Resident memory of `pid` and the processes it started, in millions of bytes."""
    held = 0
    for each in family(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                held += int(line.split()[1]) * 1024
    return held / _BYTES_PER_MB


def handles(pid: int) -> int:
    """Files, sockets and the like that `pid` and the processes it started have open."""
    return sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in family(pid))


def family(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found
