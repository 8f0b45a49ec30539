"""What somebody types into kcat; the notation is that of `compat.java.scenario`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
