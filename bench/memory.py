"""Memory of a PostgreSQL backend and its parallel workers, read from /proc.

Must not know indexes or data. What is counted leaves out shared buffers, which every process maps and which belong to
the server: anonymous memory (RssAnon of proc(5)) of each process, and the dynamic shared memory that the backend maps,
each segment once. The kernel keeps no peak of either, so that a peak is the most that sampling has seen.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SEGMENTS = "/dev/shm/PostgreSQL."
# Often enough to see the phases of a build of a second, and too seldom to slow it down.
SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Memory:
    """Bytes: anonymous memory of the processes, and dynamic shared memory."""

    private_bytes: int
    shared_bytes: int

    @property
    def total_bytes(self) -> int:
        """Both."""
        return self.private_bytes + self.shared_bytes


def memory_of(pid: int) -> Memory:
    """Reads what backend `pid` and its parallel workers have now."""
    private = sum(private_bytes(process) for process in [pid, *parallel_workers(pid)])
    return Memory(private, sum(segment_bytes(path) for path in segments(pid)))


def private_bytes(pid: int) -> int:
    """RssAnon of a process; zero when it has ended."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    return 0


def parallel_workers(pid: int) -> list[int]:
    """The processes whose title says that they work for backend `pid`."""
    ending = f"parallel worker for PID {pid}"
    found = []
    for process in siblings(pid):
        with contextlib.suppress(OSError):
            title = (PROC / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if title.strip().endswith(ending):
                found.append(process)
    return found


def siblings(pid: int) -> list[int]:
    """The children of the process's parent: all processes of the server."""
    with contextlib.suppress(OSError):
        # The name of the program stands in brackets and may itself contain blanks.
        parent = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1]
        return [int(word) for word in (PROC / parent / "task" / parent / "children").read_text().split()]
    return []


def segments(pid: int) -> set[str]:
    """The files of the dynamic shared memory that a process maps."""
    with contextlib.suppress(OSError):
        lines = (PROC / str(pid) / "maps").read_text().splitlines()
        return {line.split()[5] for line in lines if SEGMENTS in line}
    return set()


def segment_bytes(path: str) -> int:
    """The memory that a segment occupies; zero when it is gone. PostgreSQL allocates all of it at once."""
    with contextlib.suppress(OSError):
        return 512 * os.stat(path).st_blocks
    return 0


class PeakMemory(threading.Thread):
    """Samples a backend while a block runs; `peak` is the sample with the largest total."""

    def __init__(self, pid: int):
        """Watches the backend `pid`."""
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = memory_of(pid)
        self.finished = threading.Event()

    def run(self) -> None:
        """Samples until the block ends."""
        while not self.finished.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, memory_of(self.pid), key=lambda memory: memory.total_bytes)

    def __enter__(self) -> PeakMemory:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.finished.set()
        self.join()
