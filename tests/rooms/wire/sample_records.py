"""Records to put into batches, and Hypothesis's way to make them up."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

from hypothesis import strategies as st

from pykafka_broker.wire.batch import Record

PEOPLE = [
    Record(timestamp=1_000, key=b"alice", value=b'{"age": 31}', headers=[("source", b"crm"), ("trace", None)]),
    Record(timestamp=1_002, key=None, value=b'{"age": 47}'),
    Record(timestamp=1_001, key=b"carol", value=None),
    Record(timestamp=1_400, key=b"", value=b"", headers=[("", b"")]),
    Record(timestamp=90_000, key=b"dave", value=b"long " * 40_000),
]

content = st.none() | st.binary(max_size=100)
headers: st.SearchStrategy[list[tuple[str, bytes | None]]] = st.just([]) | st.lists(
    st.tuples(st.text(max_size=4), st.none() | st.binary(max_size=9)), max_size=2
)
records = st.lists(
    st.builds(
        Record,
        offset=st.just(-1),
        timestamp=st.integers(min_value=0, max_value=2**48),
        key=content,
        value=content,
        headers=headers,
    ),
    max_size=12,
)


def kafka_python(module: str) -> ModuleType:
    """A module of kafka-python's, which warns about itself when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"kafka.{module}")


def numbered(given: list[Record], base_offset: int = 0) -> list[Record]:
    """The records as they come back out of a batch: with offsets, and headers as a list."""
    return [
        record._replace(offset=base_offset + place, headers=list(record.headers)) for place, record in enumerate(given)
    ]
