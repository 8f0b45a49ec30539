"""Open files are bounded, and connections must not take the last of them: the log that cannot open its files goes
offline. What is open is counted elsewhere; this knows only who may have how many.
"""

from __future__ import annotations

UNBOUNDED = 2**31 - 1
FEW_FOR_FILES = 1024
MANY_FOR_FILES = 8192
FEW_FOR_THE_REST = 24
"""So many at least are neither for connections nor for logs: a broker has 16 of its own when it has started."""


def may_be_open() -> int:
    """How many descriptors this process may have."""
    try:
        import resource
    except ImportError:  # Windows, where sockets and files have no common bound
        return UNBOUNDED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNBOUNDED if soft == resource.RLIM_INFINITY else min(soft, UNBOUNDED)


def for_connections(all_of_them: int) -> int:
    """How many of so many descriptors connections may take. The rest is for files: two in five, but no more than
    ``MANY_FOR_FILES``; where that is less than ``FEW_FOR_FILES``, so many, or half of all.
    """
    two_in_five = min(MANY_FOR_FILES, all_of_them * 2 // 5)
    return all_of_them - min(max(FEW_FOR_FILES, two_in_five), all_of_them // 2)


def for_logs(all_of_them: int) -> tuple[int, int]:
    """How many of so many descriptors logs may keep open to append to, and how many besides to read from."""
    kept = all_of_them - for_connections(all_of_them)
    each = max((kept - max(kept // 4, FEW_FOR_THE_REST)) // 2, 1)
    return each, each


def take_all() -> None:
    """Raise the bound as far as one may, as Java does for its processes; where that is refused, leave it."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            # macOS has a hard limit of infinity and refuses it.
            return
