"""The command line: ``start`` runs a broker until it is told to stop, ``config`` tells settings, ``health`` asks it,
``import`` takes over the log directories of another one.

Standard output carries only what a script may wait for or read: the ready line, the settings, the version.
Everything else goes to standard error.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pykafka_broker

if TYPE_CHECKING:
    from pykafka_broker.config.loading import Loaded

CANNOT_START = 1
PROPERTIES_ENCODING = "iso-8859-1"
"""As Java reads properties files."""
_OBJECTS_PER_LOOK = 10_000
"""So many objects are made between two looks for garbage. An answer to a Fetch of 2,000 partitions takes tens of
thousands, none of which is garbage; with Python's 700, some of them are looked through thirty times.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command given on the command line; its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pykafka-broker", description="A Kafka broker that runs alone or joins a ZooKeeper ensemble."
    )
    parser.add_argument("--version", action="version", version=f"pykafka-broker {pykafka_broker.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    start = commands.add_parser(
        "start",
        help="run a broker until SIGTERM or SIGINT",
        description="Run a broker. Without a file it listens on 127.0.0.1:9092 and keeps its data in ./pykafka-data.",
    )
    config = commands.add_parser(
        "config",
        help="print every effective setting, its value and its source",
        description="Print every effective setting, its value and where it comes from.",
    )
    for command, run in ((start, _start), (config, _config)):
        command.add_argument("file", nargs="?", metavar="SERVER.PROPERTIES", help="Kafka's server.properties")
        command.add_argument(
            "--override", action="append", default=[], metavar="KEY=VALUE", help="a setting that beats the file's"
        )
        command.set_defaults(run=run)
    health = commands.add_parser(
        "health",
        help="say whether a broker serves (exit status 0) or not (1)",
        description="Ask a broker whether it serves: it has to answer, and to know of itself and of a controller.",
    )
    health.add_argument("server", nargs="?", default="localhost:9092", metavar="HOST:PORT", help="localhost:9092")
    health.set_defaults(run=_health)
    take_over = commands.add_parser(
        "import",
        help="take over the log directories of a broker that had ZooKeeper",
        description="Say what log directories of Kafka hold and, with --yes, write down what a broker that runs alone "
        "needs to serve them. The files themselves are not touched.",
    )
    take_over.add_argument("directories", nargs="+", metavar="DIR", help="log.dirs, in their order")
    take_over.add_argument("--yes", action="store_true", help="write it down; otherwise nothing is changed")
    take_over.set_defaults(run=_import)
    start.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


def _loaded(parsed: argparse.Namespace) -> Loaded | None:
    """The settings from file and overrides; ``None`` when they are wrong, which has been said then."""
    from pykafka_broker.config.loading import ConfigurationError, load

    text = None
    if parsed.file is not None:
        try:
            text = Path(parsed.file).read_text(encoding=PROPERTIES_ENCODING)
        except OSError as error:
            print(f"pykafka-broker: {parsed.file}: {error.strerror}", file=sys.stderr)
            return None
    try:
        loaded = load(text, parsed.file or "", parsed.override)
    except ConfigurationError as error:
        for line in error.lines:
            print(f"pykafka-broker: {line}", file=sys.stderr)
        return None
    for warning in loaded.warnings:
        print(f"pykafka-broker: warning: {warning}", file=sys.stderr)
    return loaded


def _config(parsed: argparse.Namespace) -> int:
    from pykafka_broker.config.listing import lines

    loaded = _loaded(parsed)
    if loaded is None:
        return CANNOT_START
    try:
        print("\n".join(lines(loaded)), flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` does; the interpreter's own flush at the end shall not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _health(parsed: argparse.Namespace) -> int:
    from pykafka_broker.health import ill

    host, _, port = parsed.server.rpartition(":")
    if not host or not port.isdigit():
        print(f"pykafka-broker: {parsed.server}: a server is HOST:PORT", file=sys.stderr)
        return CANNOT_START
    why = ill(host.strip("[]"), int(port))
    if why is None:
        print(f"{parsed.server} is well")
        return 0
    print(f"pykafka-broker: {parsed.server}: {why}", file=sys.stderr)
    return CANNOT_START


def _import(parsed: argparse.Namespace) -> int:
    import trio

    from pykafka_broker.adoption import CannotAdopt, adopt, survey
    from pykafka_broker.runtime.clock import wall_clock

    paths = [Path(directory) for directory in parsed.directories]
    try:
        found = survey(paths)
        print("\n".join(found.lines()))
        if found.topics:
            print(
                "Settings of topics are not in log directories. So that nothing is deleted, records are kept for ever "
                "until retention.ms says otherwise; topics that were compacted stay so."
            )
        settings = f"--override broker.id={found.broker_id} --override log.dirs={','.join(parsed.directories)}"
        if parsed.yes:
            trio.run(adopt, found, wall_clock)
            print(f"Written. Start it with: pykafka-broker start {settings}")
        else:
            print(f"Nothing has been changed. With --yes it is written to {paths[0] / 'coordination.tree'}.")
    except CannotAdopt as refused:
        print(f"pykafka-broker: {refused}", file=sys.stderr)
        return CANNOT_START
    return 0


def _start(parsed: argparse.Namespace) -> int:
    # A start makes thousands of objects that stay; to look through them again and again costs a third of the time.
    usual = gc.get_threshold()
    gc.set_threshold(100_000, *usual[1:])

    import trio

    from pykafka_broker.app import open_broker
    from pykafka_broker.descriptors import take_all
    from pykafka_broker.houses import CannotStart
    from pykafka_broker.observe.logging import log_to_stderr

    loaded = _loaded(parsed)
    if loaded is None:
        return CANNOT_START
    log_to_stderr(parsed.log_level)
    take_all()

    status = 0

    async def serve() -> None:
        nonlocal status
        ready, told_to_stop = trio.Event(), trio.Event()

        async def heed_signals(*, task_status: trio.TaskStatus[None]) -> None:
            """A broker that serves ends in order; one that is still starting is simply stopped."""
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                task_status.started()
                async for _signal in signals:
                    told_to_stop.set()
                    if not ready.is_set():
                        nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            await nursery.start(heed_signals)
            try:
                async with open_broker(loaded) as broker:
                    ready.set()
                    print(broker.ready_line, flush=True)
                    # What was made while starting lives as long as the process: the collector need not look at it.
                    # To look for the few hundred objects among it that do not would keep the first clients waiting.
                    gc.freeze()
                    gc.set_threshold(_OBJECTS_PER_LOOK, *usual[1:])
                    await told_to_stop.wait()
            except CannotStart as refused:
                print(f"pykafka-broker: {refused}", file=sys.stderr)
                status = CANNOT_START
            nursery.cancel_scope.cancel()

    trio.run(serve)
    return status


if __name__ == "__main__":
    sys.exit(main())
