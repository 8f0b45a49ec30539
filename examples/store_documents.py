"""Read JSON documents in a consumer group and write each into a document store.

    pip install kafka-python
    python examples/store_documents.py                                   # SQLite, documents.sqlite
    pip install pymongo
    python examples/store_documents.py --mongodb mongodb://127.0.0.1     # MongoDB

It ends when nothing has come for ten seconds (``--idle-ms``). Started again it goes on where it stopped. Started twice
at the same time, the two share the partitions of the topic, if it has more than one; to make it so, create it first:

    kafka-topics.sh --bootstrap-server localhost:9092 --create --topic documents --partitions 4
"""

from __future__ import annotations

import argparse
import json
import sqlite3
from typing import Any, Protocol

from kafka import KafkaConsumer


class Store(Protocol):
    """Where documents go; a document written twice stands there once."""

    def put(self, identity: str, document: dict[str, Any]) -> None:
        """Write one document under its identity."""
        ...

    def count(self) -> int:
        """How many documents there are."""
        ...


class SqliteStore:
    """Documents as JSON text in a table of their own."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute("create table if not exists documents (identity text primary key, body text)")

    def put(self, identity: str, document: dict[str, Any]) -> None:
        with self._connection:
            self._connection.execute("insert or replace into documents values (?, ?)", (identity, json.dumps(document)))

    def count(self) -> int:
        return int(self._connection.execute("select count(*) from documents").fetchone()[0])


class MongoStore:
    """Documents in a MongoDB collection."""

    def __init__(self, uri: str) -> None:
        from pymongo import MongoClient

        self._documents = MongoClient(uri).get_default_database("kafka")["documents"]

    def put(self, identity: str, document: dict[str, Any]) -> None:
        self._documents.replace_one({"_id": identity}, document, upsert=True)

    def count(self) -> int:
        return int(self._documents.count_documents({}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the JSON documents of a topic into a document store.")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="broker address (default: %(default)s)")
    parser.add_argument("--topic", default="documents")
    parser.add_argument("--group", default="document-writers")
    parser.add_argument("--sqlite", default="documents.sqlite", help="file of the SQLite store (default: %(default)s)")
    parser.add_argument("--mongodb", help="URI of a MongoDB server, instead of SQLite")
    parser.add_argument("--idle-ms", type=int, default=10_000, help="end when nothing came for so long")
    arguments = parser.parse_args()

    store: Store = MongoStore(arguments.mongodb) if arguments.mongodb else SqliteStore(arguments.sqlite)
    consumer = KafkaConsumer(
        arguments.topic,
        bootstrap_servers=arguments.bootstrap,
        group_id=arguments.group,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        consumer_timeout_ms=arguments.idle_ms,
    )
    written = 0
    for record in consumer:
        store.put(f"{record.topic}-{record.partition}-{record.offset}", json.loads(record.value))
        written += 1
    consumer.close()
    print(f"wrote {written} documents, the store holds {store.count()}")


if __name__ == "__main__":
    main()
