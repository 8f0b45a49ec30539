"""The broker works where the system lacks what only Unix, or only Linux, has."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import os, socket, sys, types
    import trio

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name in ("fcntl", "resource", "pwd", "grp", "termios"):
                raise ImportError(f"no {name} here")

    held = set()

    def locking(descriptor, mode, size):
        identity = os.fstat(descriptor).st_ino
        if identity in held:
            raise PermissionError(13, "Permission denied")
        held.add(identity)

    sys.meta_path.insert(0, Missing())
    for name in ("fcntl", "resource"):
        sys.modules.pop(name, None)
    for name in ("sendfile", "pread", "pwrite", "fdatasync", "O_CLOEXEC", "posix_fallocate", "statvfs", "getuid"):
        if hasattr(os, name):
            delattr(os, name)
    if hasattr(socket, "MSG_MORE"):
        del socket.MSG_MORE
    sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)

    import pykafka_broker
    from pykafka_broker.houses import CannotStart
    from pykafka_broker.store import directories
    from pykafka_broker.wire import messages
    from pykafka_broker.wire.batch import Record, build
    from tests.served.conftest import connected

    directories.os = types.SimpleNamespace(**vars(os) | {"name": "nt"})

    async def main():
        async with pykafka_broker.Broker() as broker, connected(broker) as client:
            new = messages.CreateTopicsRequest.CreatableTopic(name="t", num_partitions=1, replication_factor=1)
            await client.asks(5, messages.CreateTopicsRequest(topics=[new], timeout_ms=10_000))
            produce, fetch = messages.ProduceRequest, messages.FetchRequest
            data = produce.PartitionProduceData(index=0, records=build([Record(timestamp=1, key=None, value=b"v")]))
            topic = produce.TopicProduceData(name="t", partition_data=[data])
            await client.asks(8, produce(acks=-1, timeout_ms=1000, topic_data=[topic]))
            wanted = fetch.Topic(topic="t", partitions=[fetch.Partition(partition=0, partition_max_bytes=1000)])
            answer = await client.asks(11, fetch(max_wait_ms=0, max_bytes=1000, topics=[wanted]))
            assert len(answer.responses[0].partitions[0].records) > 60
            try:
                async with pykafka_broker.Broker(data_dir=broker.data_dir):
                    raise AssertionError("two brokers have the same data")
            except CannotStart as refused:
                assert "in use" in str(refused), refused

    trio.run(main)
    print("served")
"""


@pytest.mark.slow
def test_a_broker_serves_without_what_only_unix_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "served\n"), done.stderr
