"""An old kafka-python that speaks an old protocol: what it finds, one line for each fact.

Run by the Python of that client's own environment: ``old_kafka_python.py PORT TOPIC API_VERSION``.
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata


def main(port, topic, version):
    servers = ["127.0.0.1:" + port]
    api_version = tuple(int(part) for part in version.split("."))
    here = TopicPartition(topic, 0)
    times = api_version >= (0, 10)
    number = 0
    for codec in (None, "gzip"):
        for acks in (1, "all"):
            producer = KafkaProducer(
                bootstrap_servers=servers, api_version=api_version, acks=acks, compression_type=codec, linger_ms=100
            )
            sent = []
            for _ in range(3):
                how = {"timestamp_ms": 1000 * number} if times else {}
                value = b"value-%d" % number + b"x" * 50 * (number % 3)
                key = b"key-%d" % (number % 4) if number % 3 else None
                sent.append(producer.send(topic, value, key, partition=0, **how))
                number += 1
            for one in sent:
                print("produced", codec, acks, one.get(timeout=30).offset)
            producer.close(timeout=10)
    for member in range(2):
        how = {"group_id": "group-" + topic + version} if api_version > (0, 8, 0) else {"group_id": None}
        consumer = KafkaConsumer(
            bootstrap_servers=servers,
            api_version=api_version,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            consumer_timeout_ms=20000,
            max_partition_fetch_bytes=500 if member else 1 << 20,
            **how,
        )
        if api_version >= (0, 9):
            consumer.subscribe([topic])
        else:
            consumer.assign([here])
        up_to = number if member else number // 2
        for record in consumer:
            shown = (record.timestamp, record.timestamp_type) if times else ()
            print("member", member, "consumed", record.offset, record.key, record.value[:10], len(record.value), *shown)
            if record.offset + 1 >= up_to:
                break
        print("beginning", consumer.beginning_offsets([here])[here], "end", consumer.end_offsets([here])[here])
        if api_version >= (0, 10, 1):
            for time in (0, 1, 5500, 10**6):
                print("first at", time, consumer.offsets_for_times({here: time})[here])
        if api_version > (0, 8, 0):
            consumer.commit({here: OffsetAndMetadata(up_to, f"member {member}")})
            print("committed", consumer.committed(here))
        consumer.close()


main(*sys.argv[1:])
