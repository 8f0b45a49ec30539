"""Which paths a tree accepts, and how they are taken apart; both houses ask here, so that they refuse the same."""

from __future__ import annotations

from pykafka_broker.zk.port import MAX_DATA_BYTES, NodeTooLarge

MAX_PATH_BYTES = 0x7FFF


def checked(path: str) -> str:
    """The path itself; ``ValueError`` when ZooKeeper would refuse it (``PathUtils.validatePath``)."""
    if path == "/":
        return path
    if not path.startswith("/") or path.endswith("/") or "\0" in path or len(path.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"{path!r} is not an absolute path")
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise ValueError(f"{path!r} has an empty or relative part")
    return path


def parent_of(path: str) -> str:
    """The path without its last part; the root is its own parent."""
    return path[: path.rindex("/")] or "/"


def name_of(path: str) -> str:
    """The last part of the path."""
    return path[path.rindex("/") + 1 :]


def under(path: str, name: str) -> str:
    """The child of that name."""
    return f"/{name}" if path == "/" else f"{path}/{name}"


def lineage(path: str) -> tuple[str, ...]:
    """The path with all that stands above it, from the top, without the root."""
    parts = path[1:].split("/")
    return () if path == "/" else tuple("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))


def fitting(path: str, data: bytes | None) -> bytes | None:
    """The data itself; ``NodeTooLarge`` when no tree should keep it."""
    if data is not None and len(data) > MAX_DATA_BYTES:
        raise NodeTooLarge(path)
    return data
