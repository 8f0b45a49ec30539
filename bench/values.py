"""What the bulk loads write, byte for byte, and whether it is what came back."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

SEQUENCE: Final = struct.Struct(">q")
"""How every value begins: with its record's number."""


class Lost(RuntimeError):
    """What was acknowledged did not come back, or not as it was."""


def filler(size: int) -> bytes:
    """What follows the number in a value of `size` bytes."""
    return bytes(index * 7 & 0xFF for index in range(size - SEQUENCE.size))


class Inspection:
    """Looks at values as they come back: `count` of them, of `size` bytes each, numbered from 0."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._filler = filler(size)
        self._seen = bytearray(count)

    def look_at(self, values: Iterable[bytes | None]) -> None:
        """Take some more. Raises `Lost` at the first that nobody wrote, and at one that has come before."""
        for value in values:
            if value is None or len(value) < SEQUENCE.size:
                raise Lost(f"a record without a number: {value!r}")
            (number,) = SEQUENCE.unpack_from(value)
            if not 0 <= number < self._count or value[SEQUENCE.size :] != self._filler:
                raise Lost(f"record {number} is not what was written")
            if self._seen[number]:
                raise Lost(f"record {number} came twice")
            self._seen[number] = 1

    def close(self) -> None:
        """Raises `Lost` if any is missing."""
        missing = self._seen.count(0)
        if missing:
            raise Lost(f"{missing} of {self._count} records are missing, the first of them {self._seen.index(0)}")
