"""Settings that live in the tree of coordination: read at the start, followed while the broker runs, and written.

``/config/<kind>/<entity>`` holds them, ``/config/changes`` tells of changes, one sequential node each, which every
broker remembers having seen and any broker removes after a quarter of an hour. What the settings mean is decided in
``config/overrides``; those of users, clients and addresses are handed on as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.layers import ShownConfig
from pykafka_broker.config.loading import Loaded
from pykafka_broker.config.overrides import Overrides
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_BROKER, BrokerId
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.zk import nodes
from pykafka_broker.zk.port import BadVersion, Check, Coordination, Create, NodeExists, NoNode, Replace

log = logging.getLogger(__name__)

CHANGES_LIVE_MS = 15 * 60 * 1000
"""After this time a notification of a change is removed, by whoever looks at them next."""

_OTHERS = (nodes.CLIENT_CONFIG, nodes.USER_CONFIG, nodes.IP_CONFIG)


class DynamicConfigs:
    """This broker's view of all settings, kept in step with the tree."""

    def __init__(self, loaded: Loaded, tree: Coordination, clock: Clock) -> None:
        self._tree = tree
        self._clock = clock
        self._me = NO_BROKER
        self._seen = -1
        self._made_ms: dict[str, int] = {}
        self.overrides = Overrides(loaded.settings, loaded.texts)
        self.others: dict[str, dict[str, Mapping[str, str]]] = {kind: {} for kind in _OTHERS}
        """Settings of users, clients and addresses, by the entity's path below its kind, as they stand in the tree."""
        self.on_topic: list[Callable[[str, TopicSettings], None]] = []
        """Told what holds for a topic after its own settings have changed."""
        self.on_broker: list[Callable[[BrokerSettings], None]] = []
        """Told what holds for the broker after its settings have changed; topics' defaults may have changed too."""
        self.on_other: list[Callable[[str, str, Mapping[str, str]], None]] = []
        """Told the kind, the entity and all its settings after a change for a user, client or address."""

    # What holds

    @property
    def broker(self) -> BrokerSettings:
        """What holds for this broker now."""
        return self.overrides.broker

    def topic_settings(self, topic: str) -> TopicSettings:
        """What holds for a topic now."""
        return self.overrides.effective(topic)

    def validate_topic(self, entries: Mapping[str, str | None]) -> None:
        """INVALID_CONFIG when a topic cannot have these settings of its own."""
        error = self.overrides.validate_topic(entries)
        if error is not None:
            raise error

    def shown(self, entries: Mapping[str, str]) -> Sequence[ShownConfig]:
        """All settings that a topic with these of its own would have."""
        return self.overrides.shown_topic(entries)

    # Reading

    async def load(self, me: BrokerId) -> None:
        """Read all there is; the nodes of ``nodes.persistent_paths`` may still be missing."""
        self._me = me
        try:
            told = await self._tree.children(nodes.CONFIG_CHANGES)
        except NoNode:
            told = ()
        self._seen = max((_sequence(name) for name in told), default=-1)
        for kind in nodes.CONFIG_KINDS:
            for entity in await self._entities(self._tree, kind):
                await self._reread(self._tree, kind, entity)

    async def _entities(self, tree: Coordination, kind: str) -> list[str]:
        try:
            found = list(await tree.children(nodes.config_kind_path(kind)))
        except NoNode:
            return []
        if kind == nodes.USER_CONFIG:
            for user in tuple(found):
                below = f"{user}/{nodes.CLIENT_CONFIG}"
                try:
                    found += [f"{below}/{client}" for client in await tree.children(nodes.config_path(kind, below))]
                except NoNode:
                    continue
        return found

    async def entries(self, kind: str, entity: str) -> Mapping[str, str]:
        """What stands in the tree for an entity this moment; nothing when its node is missing or malformed."""
        return await self._read(self._tree, kind, entity)

    async def learn(self, topic: str) -> None:
        """Read a topic's settings before its first log is made here: creating a topic is not told as a change."""
        await self._reread(self._tree, nodes.TOPIC_CONFIG, topic)

    @staticmethod
    async def _read(tree: Coordination, kind: str, entity: str) -> Mapping[str, str]:
        try:
            node = await tree.read(nodes.config_path(kind, entity))
            return nodes.ConfigEntity.decode(kind, entity, node.data).config
        except NoNode:
            return {}
        except nodes.MalformedNode as error:
            log.warning("settings that cannot be read are left out entity=%s/%s: %s", kind, entity, error)
            return {}

    async def _reread(self, tree: Coordination, kind: str, entity: str) -> None:
        self._take_over(kind, entity, await self._read(tree, kind, entity))

    def _take_over(self, kind: str, entity: str, entries: Mapping[str, str]) -> None:
        if kind == nodes.TOPIC_CONFIG:
            if self.overrides.topics.get(entity, {}) == entries:
                return
            complaints = self.overrides.set_topic(entity, entries)
            settings = self.overrides.effective(entity)
            for tell_topic in self.on_topic:
                tell_topic(entity, settings)
        elif kind == nodes.BROKER_CONFIG:
            if entity == nodes.DEFAULT_ENTITY:
                complaints = self.overrides.set_default(entries)
            elif entity == str(self._me):
                complaints = self.overrides.set_broker(entries)
            else:
                return
            for tell_broker in self.on_broker:
                tell_broker(self.overrides.broker)
        elif kind in self.others:
            if self.others[kind].get(entity, {}) == entries:
                return
            self.others[kind][entity] = entries
            for tell_other in self.on_other:
                tell_other(kind, entity, entries)
            return
        else:
            log.warning("a change of an unknown kind is left out entity=%s/%s", kind, entity)
            return
        for complaint in complaints:
            log.warning("a setting is left out entity=%s/%s: %s", kind, entity, complaint)

    # Following

    async def follow(self, session: Coordination) -> None:
        """Follow all changes for as long as the session lasts; made for ``House.during_sessions``."""
        await session.ensure(nodes.CONFIG_CHANGES)
        async with session.watching_children(nodes.CONFIG_CHANGES) as changes:
            while True:
                await self.catch_up(session)
                await changes.wait()

    async def catch_up(self, session: Coordination) -> None:
        """Heed every notification not seen yet, and remove those whose time is over."""
        told = await session.children(nodes.CONFIG_CHANGES)
        changed: dict[tuple[str, str], None] = {}
        for name in sorted(told, key=_sequence):
            if name in self._made_ms:
                continue
            try:
                node = await session.read(f"{nodes.CONFIG_CHANGES}/{name}")
            except NoNode:
                continue
            self._made_ms[name] = node.stat.created_ms
            if _sequence(name) > self._seen:
                self._seen = _sequence(name)
                try:
                    kind, _, entity = nodes.ConfigChange.decode(node.data).entity_path.partition("/")
                except nodes.MalformedNode as error:
                    log.warning("a notification of a change makes no sense node=%s: %s", name, error)
                else:
                    changed[kind, entity] = None
        for kind, entity in changed:
            await self._reread(session, kind, entity)
        await self._remove_old(session, told)

    async def _remove_old(self, session: Coordination, told: Sequence[str]) -> None:
        self._made_ms = {name: made for name, made in self._made_ms.items() if name in told}
        over = self._clock() - CHANGES_LIVE_MS
        for name in [name for name, made in self._made_ms.items() if made < over]:
            with suppress(NoNode):  # another broker may be faster
                await session.delete(f"{nodes.CONFIG_CHANGES}/{name}")
            del self._made_ms[name]

    # Writing

    async def write(self, kind: str, entity: str, entries: Mapping[str, str]) -> None:
        """Replace all settings of an entity, tell every broker, and heed them here at once.

        The last writer wins, as in Kafka; but nobody writes while there is no controller (NOT_CONTROLLER).
        """
        written = nodes.ConfigEntity(kind, entity, dict(entries))
        await self._put(written)
        await self._tree.create(
            nodes.ConfigChange.prefix, nodes.ConfigChange(f"{kind}/{entity}").encode(), sequential=True
        )
        self._take_over(kind, entity, written.config)

    async def _put(self, written: nodes.ConfigEntity) -> None:
        exists = True
        while True:
            try:
                controller = await self._tree.read(nodes.CONTROLLER)
            except NoNode as error:
                raise KafkaError(ErrorCode.NOT_CONTROLLER, "There is no controller at the moment.") from error
            change = Replace(written.path, written.encode()) if exists else Create(written.path, written.encode())
            try:
                await self._tree.together((Check(nodes.CONTROLLER, controller.stat.version), change))
            except (NoNode, BadVersion) as error:
                if error.path == nodes.CONTROLLER:
                    continue  # the controller has just changed; look again
                if not exists:
                    await self._tree.ensure(written.path.rpartition("/")[0])
                exists = False
            except NodeExists:
                exists = True
            else:
                return


def _sequence(name: str) -> int:
    try:
        return nodes.sequence_of(name)
    except nodes.MalformedNode:
        return -1
