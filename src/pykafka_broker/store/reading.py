"""Reading the file pieces of an answer into memory.

Small ones, and all of them for TLS, for old formats and where there is no ``sendfile``.
"""

from __future__ import annotations

from collections.abc import Iterator

from pykafka_broker.store.files import pread
from pykafka_broker.wire.pieces import FilePiece, FilePieces

PORTION_BYTES = 256 * 1024


def portions(piece: FilePiece) -> Iterator[bytes]:
    """The bytes of a piece, at most 256 KiB at a time; ``EOFError`` if the file ends before the piece does."""
    start, left = piece.start, piece.size_bytes
    while left:
        data = pread(piece.file, min(left, PORTION_BYTES), start)
        if not data:
            raise EOFError("a log file is shorter than its index says")
        yield data
        start += len(data)
        left -= len(data)


def read_piece(piece: FilePiece) -> bytes:
    """All bytes of a piece; ``EOFError`` if the file ends before it does."""
    data = pread(piece.file, piece.size_bytes, piece.start)
    return data if len(data) == piece.size_bytes else b"".join(portions(piece))


def read_pieces(pieces: FilePieces) -> bytes:
    """All bytes of the pieces, one after the other."""
    found: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, FilePiece):
            found.extend(portions(piece))
        else:
            found.append(bytes(piece))
    return b"".join(found)
