"""The broker as a part of somebody's program: inside a trio program, or in a thread of one that has no trio.

    async with pykafka_broker.Broker() as broker:
        use(broker.bootstrap_servers)

    with pykafka_broker.running() as broker:
        use(broker.bootstrap_servers)

Both take a free port on 127.0.0.1 and a data directory that is gone afterwards, unless told otherwise.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import trio

from pykafka_broker.api.routes import Routes
from pykafka_broker.app import RunningBroker, open_broker
from pykafka_broker.config.loading import load


class Broker:
    """The same broker that the command line runs, as an async context manager.

    ``properties`` are Kafka's keys with their values, as text or as Python has them; they beat those of the ``file``
    (a server.properties). Without ``data_dir``, and without ``log.dirs`` among the properties, the data lives in a
    temporary directory that is removed at the end. Entering returns when the broker is ready to serve; a setting that
    is wrong raises ``ConfigurationError``, a port that is taken ``CannotStart``.
    """

    def __init__(
        self,
        properties: Mapping[str, object] | None = None,
        *,
        file: str | Path | None = None,
        data_dir: str | Path | None = None,
    ) -> None:
        self._properties = {key: _as_text(value) for key, value in (properties or {}).items()}
        self._file = file
        self._data_dir = data_dir
        self._running: RunningBroker | None = None
        self._stack = AsyncExitStack()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of the first listener, as clients take it."""
        return self._ready.bootstrap_servers

    @property
    def broker_id(self) -> int:
        """The id under which the broker is registered."""
        return self._ready.broker_id

    @property
    def data_dir(self) -> str:
        """Where the data lies: the first of the log directories."""
        return self._ready.data_dir

    @property
    def routes(self) -> Routes:
        """What is served, in which versions, and by whom."""
        return self._ready.routes

    @property
    def _ready(self) -> RunningBroker:
        if self._running is None:
            raise RuntimeError("the broker is not running: enter it with 'async with'")
        return self._running

    async def __aenter__(self) -> Broker:
        async with AsyncExitStack() as stack:
            properties = {"listeners": "PLAINTEXT://127.0.0.1:0"} if self._file is None else {}
            properties |= self._properties
            if self._data_dir is not None:
                properties["log.dirs"] = str(self._data_dir)
            elif not {"log.dirs", "log.dir"} & properties.keys() and self._file is None:
                directory = tempfile.TemporaryDirectory(prefix="pykafka-broker-")
                stack.callback(directory.cleanup)
                properties["log.dirs"] = directory.name
            text = None if self._file is None else Path(self._file).read_text(encoding="iso-8859-1")
            loaded = load(text, str(self._file), properties)
            self._running = await stack.enter_async_context(open_broker(loaded))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._running = None
        return await self._stack.__aexit__(kind, error, traceback)


@contextmanager
def running(
    properties: Mapping[str, object] | None = None,
    *,
    file: str | Path | None = None,
    data_dir: str | Path | None = None,
) -> Iterator[Broker]:
    """A broker in a thread of its own, for programs without trio; takes what ``Broker`` takes.

    What keeps the broker from starting is raised here; so is, at the end, what ended it early.
    """
    broker = Broker(properties, file=file, data_dir=data_dir)
    started: queue.Queue[trio.lowlevel.TrioToken | None] = queue.Queue()
    stop = trio.Event()
    failures: list[BaseException] = []

    async def serve() -> None:
        async with broker:
            started.put(trio.lowlevel.current_trio_token())
            await stop.wait()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:
            failures.append(error)
        finally:
            started.put(None)

    thread = threading.Thread(target=run, name="pykafka-broker", daemon=True)
    thread.start()
    token = started.get()
    try:
        if token is not None:
            yield broker
    finally:
        if token is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(stop.set)
        thread.join()
        if failures:
            raise _only(failures[0])


def _as_text(value: object) -> str:
    """A value as a properties file has it: ``true`` for ``True``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _only(error: BaseException) -> BaseException:
    """The one error in a group of one, however deep; else the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
