"""The house of coordination that the settings ask for, opened; what keeps it closed is said in one line.

Two houses stand behind the port: an ensemble of ZooKeeper servers, and a tree in the process (``zk/port.py``). Either
is imported only when it is used.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.store.worker import Worker
from pykafka_broker.zk.port import House


class CannotStart(Exception):
    """The broker cannot start as it is told to; one line says why."""


@asynccontextmanager
async def open_house(settings: BrokerSettings, worker: Worker, clock: Clock) -> AsyncIterator[House]:
    """The house: an ensemble where ``zookeeper.connect`` names one, else the embedded tree."""
    if settings.has_zookeeper:
        from pykafka_broker.zk.credentials import CredentialsError, credentials_of
        from pykafka_broker.zk.session import AuthenticationFailed, ConnectionTimeout, open_ensemble

        connection_timeout_ms = settings.zookeeper_connection_timeout_ms
        if connection_timeout_ms is None:
            connection_timeout_ms = settings.zookeeper_session_timeout_ms
        try:
            async with open_ensemble(
                settings.zookeeper_connect or "",
                session_timeout_ms=settings.zookeeper_session_timeout_ms,
                connection_timeout_ms=connection_timeout_ms,
                max_in_flight=settings.zookeeper_max_in_flight_requests,
                credentials=credentials_of(settings, os.environ),
                secured=settings.zookeeper_set_acl,
            ) as ensemble:
                yield ensemble
        except CredentialsError as error:
            raise CannotStart(str(error)) from error
        except (ConnectionTimeout, AuthenticationFailed) as error:
            raise CannotStart(f"zookeeper.connect: {settings.zookeeper_connect}: {error}") from error
    else:
        from pykafka_broker.zk.embedded import open_embedded
        from pykafka_broker.zk.journal import DamagedJournal, JournalInUse

        directory = Path(settings.directories[0])
        async with AsyncExitStack() as stack:
            try:
                embedded = await stack.enter_async_context(open_embedded(directory, in_worker=worker.run, clock=clock))
            except (JournalInUse, DamagedJournal) as error:
                raise CannotStart(str(error)) from error
            except OSError as error:
                raise CannotStart(f"log.dirs: {directory} cannot be used: {error}") from error
            yield embedded
