"""The command line, as a person or a script uses it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from pykafka_broker.wire import messages
from tests.served.conftest import RawClient

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "pykafka_broker"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


class Started:
    """A broker process that has said it is ready."""

    def __init__(self, process: subprocess.Popen[str], ready: str, log: Path) -> None:
        self.process = process
        self.ready = ready
        self._log = log

    @property
    def port(self) -> int:
        return int(self.ready.rpartition(":")[2])

    def ends(self, by: signal.Signals) -> int:
        self.process.send_signal(by)
        return self.process.wait(30)

    @property
    def said(self) -> str:
        return self._log.read_text()


@contextmanager
def started(directory: Path, *overrides: str, limits: str = "") -> Iterator[Started]:
    """A broker that is ready; ``limits`` are the shell's ``ulimit``'s."""
    log = directory / "log.txt"
    arguments = [*COMMAND, "start", "--override", "listeners=PLAINTEXT://127.0.0.1:0"]
    for override in overrides:
        arguments += ["--override", override]
    with log.open("w") as stderr:
        if limits:
            arguments = ["sh", "-c", f'ulimit {limits}; exec "$0" "$@"', *arguments]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=directory)
    assert process.stdout is not None
    try:
        yield Started(process, process.stdout.readline().strip(), log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def produce(port: int, *values: bytes) -> int:
    from tests.rooms.api.conftest import batch

    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = RawClient(stream)
        with trio.fail_after(20):
            topic = messages.MetadataRequest.Topic(name="t")
            while (await client.asks(9, messages.MetadataRequest(topics=[topic]))).topics[0].error_code:
                await trio.lowlevel.checkpoint()
        request = messages.ProduceRequest
        response = await client.asks(
            9,
            request(
                acks=-1,
                timeout_ms=5000,
                topic_data=[
                    request.TopicProduceData(
                        name="t", partition_data=[request.PartitionProduceData(index=0, records=batch(*values))]
                    )
                ],
            ),
        )
        answer = response.responses[0].partition_responses[0]
        assert answer.error_code == 0
        return int(answer.base_offset)


def test_it_tells_its_version() -> None:
    assert re.fullmatch(r"pykafka-broker \d+\.\d+\.\d+\n", run("--version").stdout)


def test_it_explains_itself() -> None:
    told = run("--help").stdout
    assert "start" in told
    assert "config" in told


def test_it_says_when_it_is_ready_and_where(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        assert re.fullmatch(
            r"pykafka-broker ready broker\.id=0 listeners=PLAINTEXT://127\.0\.0\.1:[1-9]\d*", broker.ready
        )
        assert trio.run(produce, broker.port, b"a") == 0


def test_without_a_file_the_data_lies_beside_where_it_was_started(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        trio.run(produce, broker.port, b"a")
    assert (tmp_path / "pykafka-data" / "t-0").is_dir()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_shuts_down_cleanly_and_the_next_start_recovers_nothing(tmp_path: Path, by: signal.Signals) -> None:
    with started(tmp_path) as broker:
        trio.run(produce, broker.port, b"a", b"b")
        assert broker.ends(by) == 0
    assert (tmp_path / "pykafka-data" / ".kafka_cleanshutdown").exists()
    with started(tmp_path) as broker:
        assert not (tmp_path / "pykafka-data" / ".kafka_cleanshutdown").exists()
        assert trio.run(produce, broker.port, b"c") == 2
        assert "Recover" not in broker.said


def test_after_a_kill_it_recovers_and_has_everything(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        trio.run(produce, broker.port, b"a", b"b")
        broker.ends(signal.SIGKILL)
    with started(tmp_path) as broker:
        assert trio.run(produce, broker.port, b"c") == 2
        assert "Recover" in broker.said


def test_a_torn_tail_is_cut_off(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        trio.run(produce, broker.port, b"a")
        trio.run(produce, broker.port, b"b")
        broker.ends(signal.SIGKILL)
    segment = tmp_path / "pykafka-data" / "t-0" / "00000000000000000000.log"
    os.truncate(segment, segment.stat().st_size - 3)
    with started(tmp_path) as broker:
        assert trio.run(produce, broker.port, b"c") == 1


def test_a_bad_value_is_one_line_with_file_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("broker.id=0\n\nnum.partitions=many\n")
    ended = run("start", str(file))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"{file}:3: num.partitions: " in line
    assert ended.stdout == ""


def test_a_file_that_is_not_there_is_one_line() -> None:
    ended = run("start", "nowhere.properties")
    assert (ended.returncode, ended.stderr) == (1, "pykafka-broker: nowhere.properties: No such file or directory\n")


def test_an_unknown_key_warns_and_the_broker_starts(tmp_path: Path) -> None:
    with started(tmp_path, "no.such.key=1") as broker:
        assert broker.ready
        assert "no.such.key" in broker.said


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"PLAINTEXT://127.0.0.1:{taken.getsockname()[1]}"
        ended = run("start", "--override", f"listeners={address}", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (1, f"pykafka-broker: listeners: {address}: Address already in use\n")


def test_a_name_that_nobody_knows_is_one_line(tmp_path: Path) -> None:
    ended = run("start", "--override", "listeners=PLAINTEXT://nobody.invalid:0", cwd=tmp_path)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pykafka-broker: listeners: PLAINTEXT://nobody.invalid:0: ")
    assert "Unknown error" not in line


@pytest.mark.parametrize("where", ["file", "file/below", "strange"])
def test_data_that_cannot_be_there_is_one_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "strange" / "not a partition").mkdir(parents=True)
    ended = run(
        "start",
        "--override",
        "listeners=PLAINTEXT://127.0.0.1:0",
        "--override",
        f"log.dirs={tmp_path / where}",
        cwd=tmp_path,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pykafka-broker: ")
    assert str(tmp_path / where) in line


def test_an_ensemble_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        ended = run(
            "start",
            "--override",
            f"zookeeper.connect=127.0.0.1:{nobody.getsockname()[1]}",
            "--override",
            "zookeeper.connection.timeout.ms=500",
            "--override",
            "listeners=PLAINTEXT://127.0.0.1:0",
            cwd=tmp_path,
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "zookeeper" in line.lower()


def test_config_tells_every_setting_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("num.partitions=3\n")
    told = run("config", str(file), "--override", "log.retention.hours=1").stdout
    lines = {line.split()[0].partition("=")[0]: line for line in told.splitlines() if line.strip()}
    assert "3" in lines["num.partitions"]
    assert f"{file}:1" in lines["num.partitions"]
    assert "--override" in lines["log.retention.hours"]
    assert len(lines) > 100


def test_config_may_be_read_by_somebody_who_stops_reading() -> None:
    with subprocess.Popen([*COMMAND, "config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 0


def test_a_second_broker_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with started(tmp_path):
        ended = run("start", "--override", "listeners=PLAINTEXT://127.0.0.1:0", cwd=tmp_path)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ("broker.id=7\ncluster.id={cluster}\n", "Stored node id 7 doesn't match previous node id 0 in {path}. If you "),
        ("broker.id=0\ncluster.id=another\n", "Invalid cluster.id in: {path}. Expected {cluster}, but read another"),
        ("version=1\nnode.id=0\ncluster.id={cluster}\n", "Found unexpected version in {path}. ZK-based brokers that "),
    ],
)
@pytest.mark.parametrize("name", ["one", "two"])
def test_a_directory_of_somebody_else_is_refused_in_one_line(tmp_path: Path, stored: str, why: str, name: str) -> None:
    directories = f"log.dirs={tmp_path / 'one'},{tmp_path / 'two'}"
    with started(tmp_path, directories, "broker.id=0"):
        pass
    path = tmp_path / name / "meta.properties"
    (cluster,) = re.findall(r"cluster\.id=(.*)", path.read_text())
    path.write_text(stored.format(cluster=cluster))
    listener = ("--override", "listeners=PLAINTEXT://127.0.0.1:0")
    ended = run("start", *listener, "--override", directories, "--override", "broker.id=0")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pykafka-broker: " + why.format(cluster=cluster, path=path))
    assert path.read_text() == stored.format(cluster=cluster)


def test_a_directory_without_its_tree_is_told_of_and_taken_over_when_asked(tmp_path: Path) -> None:
    data = tmp_path / "pykafka-data"
    with started(tmp_path, "broker.id=7"):
        pass
    tree = data / "coordination.tree"
    tree.unlink()
    refused = run("start", "--override", "listeners=PLAINTEXT://127.0.0.1:0", cwd=tmp_path)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.endswith("has to be told once: pykafka-broker import ./pykafka-data")
    before = tree.read_bytes()
    looked = run("import", str(data))
    assert looked.returncode == 0
    assert looked.stdout.splitlines()[-1] == f"Nothing has been changed. With --yes it is written to {tree}."
    assert tree.read_bytes() == before
    taken = run("import", "--yes", str(data))
    assert (taken.returncode, taken.stderr) == (0, "")
    command = f"pykafka-broker start --override broker.id=7 --override log.dirs={data}"
    assert taken.stdout.splitlines()[-1] == f"Written. Start it with: {command}"
    with started(tmp_path, "broker.id=7", f"log.dirs={data}") as broker:
        assert broker.ready.startswith("pykafka-broker ready broker.id=7 ")
        assert broker.ends(signal.SIGTERM) == 0


def test_a_broker_that_serves_is_well_and_one_that_is_not_there_is_not(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        found = run("health", f"127.0.0.1:{broker.port}")
        assert (found.returncode, found.stdout) == (0, f"127.0.0.1:{broker.port} is well\n")
        broker.ends(signal.SIGTERM)
        found = run("health", f"127.0.0.1:{broker.port}")
        assert (found.returncode, found.stdout) == (1, "")
        assert found.stderr == f"pykafka-broker: 127.0.0.1:{broker.port}: [Errno 111] Connection refused\n"


def test_a_server_that_is_no_broker_is_told_of_in_one_line() -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"\x00\x00\x00\x05\x00\x00\x00\x01x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        found = run("health", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert "it does not answer as a broker does: " in line


def test_a_server_to_ask_is_a_host_and_a_port() -> None:
    found = run("health", "nonsense")
    assert (found.returncode, found.stderr) == (1, "pykafka-broker: nonsense: a server is HOST:PORT\n")
