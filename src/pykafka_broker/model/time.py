"""Time as a number: milliseconds since 1970, handed to the rooms that decide and never read by them."""

from __future__ import annotations

from typing import NewType

Millis = NewType("Millis", int)
