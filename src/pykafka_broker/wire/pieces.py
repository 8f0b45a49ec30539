"""What an answer is made of: bytes in memory, and regions of files that the kernel copies by itself.

How they are sent is left to ``net/``; where the regions come from, to the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class FilePiece(NamedTuple):
    """``size_bytes`` bytes from position ``start`` of the open file descriptor ``file``."""

    file: int
    start: int
    size_bytes: int


Piece = bytes | bytearray | memoryview | FilePiece
"""Something that can be sent as it is."""


class FilePieces:
    """The records of one partition: regions of files and bytes, in order; stands in a ``records`` field."""

    __slots__ = ("pieces", "size_bytes")

    def __init__(self, pieces: Iterable[Piece] = (), size_bytes: int | None = None) -> None:
        """The pieces, and how large they are together if that is known."""
        self.pieces: tuple[Piece, ...] = tuple(pieces)
        self.size_bytes = sum(map(size_of, self.pieces)) if size_bytes is None else size_bytes

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def __getitem__(self, index: int) -> Piece:
        return self.pieces[index]

    def __eq__(self, other: object) -> bool:
        return self.pieces == other.pieces if isinstance(other, FilePieces) else NotImplemented

    def __repr__(self) -> str:
        return f"FilePieces({list(self.pieces)!r})"


def size_of(piece: Piece) -> int:
    """How many bytes a piece is on the wire."""
    if type(piece) is FilePiece:
        return piece.size_bytes
    return piece.nbytes if isinstance(piece, memoryview) else len(piece)
