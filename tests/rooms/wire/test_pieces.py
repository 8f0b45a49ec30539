"""What an answer is made of, and how long it is."""

from __future__ import annotations

import array

import pytest

from pykafka_broker.wire.pieces import FilePiece, FilePieces, Piece, size_of


@pytest.mark.parametrize(
    ("piece", "size"),
    [
        (b"abc", 3),
        (bytearray(4), 4),
        (memoryview(array.array("i", [1, 2])), 8),
        (FilePiece(7, 100, 5_000), 5_000),
    ],
)
def test_sizes(piece: Piece, size: int) -> None:
    assert size_of(piece) == size


def test_the_records_of_a_partition() -> None:
    pieces = FilePieces([FilePiece(7, 0, 10), b"abc"])
    assert pieces.size_bytes == 13
    assert (len(pieces), list(pieces), pieces[1]) == (2, [FilePiece(7, 0, 10), b"abc"], b"abc")
    assert pieces == FilePieces((FilePiece(7, 0, 10), b"abc"))
    assert pieces != FilePieces()
    assert pieces != [FilePiece(7, 0, 10), b"abc"]
    assert repr(pieces) == "FilePieces([FilePiece(file=7, start=0, size_bytes=10), b'abc'])"
