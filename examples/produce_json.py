"""Produce JSON documents, keyed, so that all documents of one key stay in one partition and in order.

    pip install kafka-python
    python examples/produce_json.py --count 100

Run ``examples/store_documents.py`` beside it (or afterwards) to see them arrive in a document store.
"""

from __future__ import annotations

import argparse
import json
import time

from kafka import KafkaProducer


def main() -> None:
    parser = argparse.ArgumentParser(description="Produce JSON documents to a topic.")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="broker address (default: %(default)s)")
    parser.add_argument("--topic", default="documents")
    parser.add_argument("--count", type=int, default=100, help="how many documents (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=5, help="how many different keys (default: %(default)s)")
    arguments = parser.parse_args()

    producer = KafkaProducer(bootstrap_servers=arguments.bootstrap, acks="all")
    sent = []
    for number in range(arguments.count):
        key = f"sensor-{number % arguments.keys}"
        document = {"number": number, "sensor": key, "celsius": 18 + number % 7, "at_ms": time.time_ns() // 1_000_000}
        sent.append(producer.send(arguments.topic, key=key.encode(), value=json.dumps(document).encode()))
    producer.flush()
    places = [future.get(timeout=30) for future in sent]
    partitions = sorted({place.partition for place in places})
    print(f"produced {len(places)} documents to {arguments.topic}, partitions {partitions}")
    producer.close()


if __name__ == "__main__":
    main()
