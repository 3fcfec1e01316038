"""Takes files out of the page cache, and proves it.

Must not know servers or indexes: whoever reads the files must have stopped. `drop_caches` empties the cache of the
whole machine and needs root; otherwise the kernel is asked file by file, which leaves programs and libraries cached.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class CacheError(Exception):
    """The files are still in the cache."""


def can_drop_caches() -> bool:
    """Tells whether this account may empty the page cache of the machine."""
    try:
        # Opening it drops nothing: the kernel acts on what is written.
        os.close(os.open(DROP_CACHES, os.O_WRONLY))
        return True
    except OSError:
        return False


def make_cold(folder: Path, how: str) -> int:
    """Drops all files below `folder` from the page cache by `how` (`drop_caches` or `fadvise`); returns the bytes left.

    # Errors
    CacheError if more than a hundredth of the files' bytes is still cached.
    """
    for path in files_below(folder):
        forget(path)
    if how == "drop_caches":
        DROP_CACHES.write_text("3")
    total = sum(path.stat().st_size for path in files_below(folder))
    cached = cached_bytes(folder)
    if cached > total // 100:
        raise CacheError(f"{how} left {cached:,} of {total:,} bytes in the page cache")
    return cached


def files_below(folder: Path) -> Iterator[Path]:
    """The regular files of a folder and of those inside it."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def forget(path: Path) -> None:
    """Writes a file back, which its pages need before they can be dropped, and asks the kernel to drop them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def cached_bytes(folder: Path) -> int:
    """The bytes of the files below `folder` that the page cache holds, by mincore(2)."""
    return mmap.PAGESIZE * sum(cached_pages(path) for path in files_below(folder))


def cached_pages(path: Path) -> int:
    """The pages of a file in the page cache. Mapping a file brings none of them in."""
    if path.stat().st_size == 0:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        view = np.frombuffer(mapping, np.uint8)
        pages = np.zeros(-(-view.size // mmap.PAGESIZE), np.uint8)
        address, result = ctypes.c_void_p(view.ctypes.data), ctypes.c_void_p(pages.ctypes.data)
        failed = ctypes.CDLL(None, use_errno=True).mincore(address, ctypes.c_size_t(view.size), result)
        # The mapping cannot be closed while an array looks into it.
        del view
        if failed:
            raise CacheError(f"mincore: {os.strerror(ctypes.get_errno())}")
    return int(np.count_nonzero(pages & 1))
