"""Whose a log directory is: refused in Apache Kafka's words when it is refused there, and completed as it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from compat.servers import QUICK, Server, apache_kafka, our_broker
from compat.waiting import until

pytestmark = pytest.mark.compat

FILE: Final = "meta.properties"
_REFUSED: Final = re.compile(r"^(?:java\.lang\.RuntimeException|pykafka-broker): (.*)$", re.MULTILINE)
MINE: Final = "broker.id=0\nversion=0\ncluster.id={cluster}\n"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Server], list[Path], str]]:
    """This broker and Apache Kafka, neither running, for the same two directories of the same cluster; its id."""
    paths = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    settings = {**QUICK, "zookeeper.session.timeout.ms": "1500", "log.dirs": ",".join(map(str, paths))}
    with our_broker(settings, with_zookeeper=True) as ours:
        ours.stop()
        (cluster,) = re.findall("cluster.id=(.*)", (paths[0] / FILE).read_text())
        with apache_kafka(settings, connect=ours.zookeeper, start=False) as apache:
            yield {"ours": ours, "apache": apache}, paths, cluster


def write(paths: list[Path], texts: tuple[str, str], cluster: str) -> None:
    for path, text in zip(paths, texts, strict=True):
        (path / FILE).write_text(text.format(cluster=cluster))


def refusal(server: Server) -> str:
    server.log_file.write_text("")
    server.start(wait=False)
    process = server._process
    assert process is not None
    assert process.wait(30) == 1
    said = server.log_file.read_text()
    assert "Traceback" not in said
    return _REFUSED.findall(said)[-1]


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (("broker.id=7\ncluster.id={cluster}\n", MINE), "Stored node id 7 doesn't match previous node id 0 in "),
        ((MINE, "broker.id=0\nversion=0\ncluster.id=another\n"), "Invalid cluster.id in: "),
        ((MINE, "node.id=0\nversion=1\ncluster.id={cluster}\n"), "Found unexpected version in "),
    ],
    ids=["broker", "cluster", "version"],
)
def test_the_same_is_refused_in_the_same_words(
    kinds: tuple[dict[str, Server], list[Path], str], texts: tuple[str, str], why: str
) -> None:
    servers, paths, cluster = kinds
    write(paths, texts, cluster)
    ours, apache = refusal(servers["ours"]), refusal(servers["apache"])
    assert ours == apache
    assert ours.startswith(why)


def test_what_is_missing_is_completed_and_what_makes_no_sense_left_as_it_is(
    kinds: tuple[dict[str, Server], list[Path], str],
) -> None:
    servers, paths, cluster = kinds
    found = {}
    for kind, server in servers.items():
        write(paths, ("directory.id=zsIimwXkQiayGNJxGW9uUA\n", "broker.id=x\ncluster.id={cluster}\n"), cluster)
        server.start()
        until(lambda: "offline" in server.log_file.read_text().lower(), what="the directory to be offline")  # noqa: B023
        server.stop()
        # The date is in the second line.
        lines = [(path / FILE).read_text().splitlines() for path in paths]
        found[kind] = [sorted(line for line in each if not line.startswith("#")) for each in lines]
    assert found["ours"] == found["apache"]
    assert f"cluster.id={cluster}" in found["ours"][0]
    assert "broker.id=x" in found["ours"][1]
