"""Drives the controller while this broker is it: watches become events, commands become writes and requests.

One loop does everything in turn: it looks at what a watch rang for, hands the event to the pure controller, and
carries out the commands, so that the controller hears how its writes ended before it hears anything else. Every write
goes with a check of the controller epoch; when that fails the term is over. Requests to brokers leave through one
queue per broker, one at a time, and are repeated until the broker answers or is gone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, NoReturn, cast

import trio

from pykafka_broker.control.ballots import ElectionType
from pykafka_broker.control.cluster import Assignment, LiveBroker, PartitionState, Topic
from pykafka_broker.control.commands import (
    AnswerTicket,
    Command,
    ForgetDeletion,
    ForgetElection,
    ForgetTopic,
    Note,
    TellBroker,
    WriteReassignments,
    WriteStates,
    WriteTopic,
)
from pykafka_broker.control.controller import Controller
from pykafka_broker.control.events import (
    BrokerAnswered,
    BrokersSeen,
    DeletionsSeen,
    ElectionAsked,
    ElectionWritten,
    Event,
    IsrChangeAsked,
    LogDirsFailed,
    ReassignmentAsked,
    ReassignmentsWritten,
    SettingsChanged,
    ShutdownAsked,
    TermBegan,
    TopicAssignmentChanged,
    TopicsSeen,
)
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.control.reassignment import Target
from pykafka_broker.model.errors import ErrorCode, KafkaError, Unreachable
from pykafka_broker.model.names import BrokerId, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact, Level, Ticket
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.controller_tree import WRITES_TOGETHER, ControllerTree, Say
from pykafka_broker.runtime.tickets import Tickets
from pykafka_broker.zk import leadership, nodes
from pykafka_broker.zk.port import Changes as Watch
from pykafka_broker.zk.port import Coordination, SessionLost
from pykafka_broker.zk.producer_ids import ProducerIdsExhausted, allocate_block

log = logging.getLogger(__name__)

Tell = Callable[[BrokerId, Any], Awaitable[Any]]
"""Sends a request to a broker and gives its response; ``Unreachable`` when that did not work."""

RETRY_AFTER_S = 0.1
"""How long to wait before a request is sent again (``RequestSendThread``)."""

RESTS_AT_LEAST_S: Final = 1.0
RESTS_AT_MOST_S: Final = 60.0
"""How long a broker whose term failed leaves the post to others; twice as long after each term in a row that did."""

AT_ONCE = 10
"""How many reads are under way at a time (Kafka's ``zookeeper.max.in.flight.requests``)."""

_FORESEEN: Final = (leadership.TermOver, SessionLost)
"""Ends of a term that are nobody's fault."""

_BROKERS: Final = "brokers"
_TOPICS: Final = "topics"
_DELETIONS: Final = "deletions"
_LOG_DIRS: Final = "log dirs"
_ISR_CHANGES: Final = "isr changes"
_ELECTION: Final = "election"
_REASSIGNMENTS: Final = "reassignments"


class ControlLoop:
    """This broker as a candidate for controller: ``stand`` for one session, ``serve`` for one term."""

    def __init__(
        self,
        me: BrokerId,
        new_controller: Callable[[], Controller],
        tell: Tell,
        clock: Clock,
        say: Say,
    ) -> None:
        self._me = me
        self._new_controller = new_controller
        self._tell = tell
        self._clock = clock
        self._say = say
        self._term: _Term | None = None
        self._failures = 0
        """Terms in a row that an error has ended which nobody foresaw."""
        self.changes = Changes()
        """Rings a topic's name when the controller has forgotten it."""

    @property
    def is_active(self) -> bool:
        """Whether this broker is the controller."""
        return self._term is not None

    def is_being_deleted(self, topic: str) -> bool:
        """Whether a topic is marked for deletion and still there; only the controller knows."""
        return self._term is not None and self._term.controller.is_being_deleted(topic)

    async def wait_until_gone(self, topics: Iterable[str]) -> None:
        """Return when none of the topics is known to the controller any more, or this broker is not it."""
        names = tuple(topics)
        while self._term is not None and any(name in self._term.controller.cluster.topics for name in names):
            await self.changes.wait(names)

    async def elect(
        self, kind: ElectionType, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, BrokerId | KafkaError]:
        """Have leaders elected: who leads each partition now, or why there was no election; NOT_CONTROLLER."""
        found: Mapping[TopicPartition, BrokerId | KafkaError] = await self._active_term().ask(
            lambda ticket: ElectionAsked(ticket, kind, tuple(partitions))
        )
        return found

    async def reassign(
        self, wanted: Mapping[TopicPartition, Target | None]
    ) -> Mapping[TopicPartition, KafkaError | None]:
        """Have replicas moved, or (``None``) moves cancelled: why not, for each partition; NOT_CONTROLLER."""
        found: Mapping[TopicPartition, KafkaError | None] = await self._active_term().ask(
            lambda ticket: ReassignmentAsked(ticket, wanted)
        )
        return found

    async def change_isr(
        self, leader: BrokerId, broker_epoch: int, wishes: Mapping[TopicPartition, IsrWish]
    ) -> Mapping[TopicPartition, PartitionState | KafkaError]:
        """What stands for each partition, or why not what its leader wants; NOT_CONTROLLER, STALE_BROKER_EPOCH."""
        found: Mapping[TopicPartition, PartitionState | KafkaError] = await self._active_term().ask(
            lambda ticket: IsrChangeAsked(ticket, leader, broker_epoch, wishes)
        )
        return found

    async def shut_down(self, broker: BrokerId, broker_epoch: int) -> Collection[TopicPartition]:
        """Have a broker's leaderships moved away; those that nobody else can take. NOT_CONTROLLER,
        BROKER_NOT_AVAILABLE, STALE_BROKER_EPOCH.
        """
        found: Mapping[TopicPartition, None] = await self._active_term().ask(
            lambda ticket: ShutdownAsked(ticket, broker, broker_epoch)
        )
        return tuple(found)

    def settings_changed(self, topic: str | None) -> None:
        """Unclean elections may be allowed now, of one topic or of any: the controller, if we are it, looks again."""
        if self._term is not None:
            self._term.tell(SettingsChanged(topic))

    async def producer_id_block(self, broker: BrokerId, broker_epoch: int) -> range:
        """Producer ids for a registered broker; NOT_CONTROLLER, BROKER_ID_NOT_REGISTERED, STALE_BROKER_EPOCH."""
        term = self._active_term()
        known = term.controller.cluster.brokers.get(broker)
        if known is None:
            raise KafkaError(ErrorCode.BROKER_ID_NOT_REGISTERED)
        if known.epoch != broker_epoch:
            raise KafkaError(ErrorCode.STALE_BROKER_EPOCH)
        return await term.producer_id_block(broker)

    def address(self, broker: BrokerId, listener: str) -> tuple[str, int] | None:
        """Where the controller has to look for a broker's listener: its registration tells, before anybody is told."""
        known = None if self._term is None else self._term.controller.cluster.brokers.get(broker)
        endpoint = None if known is None else known.endpoint(listener)
        return None if endpoint is None else (endpoint.host, endpoint.port)

    def topic_names(self) -> Mapping[TopicId, str]:
        """All topics that the controller knows, by their ids; NOT_CONTROLLER."""
        return self._active_term().controller.topic_names()

    def moving(self) -> dict[TopicPartition, Assignment]:
        """Every partition with a reassignment in progress; NOT_CONTROLLER."""
        return self._active_term().controller.moving()

    def _active_term(self) -> _Term:
        if self._term is None:
            raise KafkaError(ErrorCode.NOT_CONTROLLER)
        return self._term

    async def stand(self, session: Coordination) -> NoReturn:
        """Be a candidate for as long as the session lasts, and the controller whenever elected."""
        await leadership.lead(session, self._me, partial(self.serve, session), clock=self._clock, rested=self._rested)

    async def serve(self, session: Coordination, elected: leadership.Term) -> None:
        """Be the controller until cancelled; ``TermOver`` when a write shows that another one is, or when an error that
        nobody foresaw has ended the term. What such an error leaves behind is not to be trusted, so the next term
        reads everything anew, and another broker may have it; this one goes on leading and following all the while.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._recover)
                await self._serve(session, elected)
                nursery.cancel_scope.cancel()
        except Exception as problem:
            unforeseen = problem.split(_FORESEEN)[1] if isinstance(problem, ExceptionGroup) else problem
            if unforeseen is None or isinstance(unforeseen, _FORESEEN):
                raise
            self._failures += 1
            log.error("the controller failed epoch=%s", elected.epoch, exc_info=unforeseen)
            raise leadership.TermOver from problem
        self._failures = 0

    async def _recover(self) -> None:
        """A term that lasts is a good one, however it ends."""
        await trio.sleep(RESTS_AT_MOST_S)
        self._failures = 0

    async def _rested(self) -> None:
        """Leave the post to others for a while after a term that failed."""
        if self._failures:
            await trio.sleep(min(RESTS_AT_LEAST_S * 2 ** (self._failures - 1), RESTS_AT_MOST_S))

    async def _serve(self, session: Coordination, elected: leadership.Term) -> None:
        term = _Term(session, self._new_controller(), elected, self._tell, self._clock, self._say, self.changes)
        self._say(Fact("ControllerElected", fields={"epoch": elected.epoch}))
        self._term = term
        try:
            await term.run()
        finally:
            self._term = None
            term.refuse_all()
            for topic in term.controller.cluster.topics:
                self.changes.ring(topic)
            self._say(Fact("ControllerResigned", fields={"epoch": elected.epoch}))


class _Term:
    """One term: its watches, its queues, its controller."""

    def __init__(
        self,
        coordination: Coordination,
        controller: Controller,
        elected: leadership.Term,
        tell: Tell,
        clock: Clock,
        say: Say,
        forgotten: Changes,
    ) -> None:
        self.controller = controller
        self._tree = coordination
        self._controller_epoch = elected.epoch
        self._nodes = ControllerTree(coordination, elected.check, say)
        self._tell = tell
        self._clock = clock
        self._say = say
        self._forgotten = forgotten
        self._due: dict[tuple[str, str], None] = {}
        """What watches rang for and nobody has looked at yet."""
        self._events: deque[Event] = deque()
        self._tickets = Tickets()
        self._bell = trio.Event()
        self._watched: dict[tuple[str, str], trio.CancelScope] = {}
        self._queues: dict[tuple[BrokerId, int], tuple[trio.MemorySendChannel[Any], trio.CancelScope]] = {}
        self._gone: set[str] = set()
        """Topics that were removed; those who wait for that are told when the controller knows."""

    async def run(self) -> None:
        """Read everything, then look, decide and act until cancelled; ``TermOver``, ``SessionLost``."""
        async with AsyncExitStack() as watches, trio.open_nursery() as nursery:
            for path, what in (
                (nodes.BROKER_IDS, _BROKERS),
                (nodes.TOPICS, _TOPICS),
                (nodes.DELETE_TOPICS, _DELETIONS),
                (nodes.LOG_DIR_EVENTS, _LOG_DIRS),
                (nodes.ISR_CHANGES, _ISR_CHANGES),
            ):
                watch = await watches.enter_async_context(self._tree.watching_children(path))
                nursery.start_soon(self._listen, watch, (what, ""))
            for path, what in (
                (nodes.PREFERRED_REPLICA_ELECTION, _ELECTION),
                (nodes.REASSIGN_PARTITIONS, _REASSIGNMENTS),
            ):
                watch = await watches.enter_async_context(self._tree.watching_data(path))
                nursery.start_soon(self._listen, watch, (what, ""))
            await self._nodes.tidy()
            await self._handle(nursery, await self._read_all(nursery))
            self._look_at((_REASSIGNMENTS, ""))
            self._look_at((_ELECTION, ""))
            while True:
                if not self._events and not self._due:
                    await self._rest(nursery)
                # By turns: whoever asks without end must not hide who has died.
                if self._events:
                    await self._handle(nursery, self._events.popleft())
                if self._due:
                    rung = next(iter(self._due))
                    del self._due[rung]
                    for event in await self._look(nursery, rung):
                        await self._handle(nursery, event)

    async def ask(self, event: Callable[[Ticket], Event]) -> Any:
        """Hand an event to the controller and wait for its answer; NOT_CONTROLLER if the term ends before."""
        ticket = self._tickets.issue()
        self._events.append(event(ticket))
        self._bell.set()
        return await self._tickets.reply_to(ticket)

    def tell(self, event: Event) -> None:
        """Hand an event to the controller that nobody waits for."""
        self._events.append(event)
        self._bell.set()

    async def producer_id_block(self, broker: BrokerId) -> range:
        """The next block, which nobody else will be given."""
        try:
            block = await allocate_block(self._tree, broker)
        except SessionLost:
            # Whether the block was taken or not, nobody gets it from us.
            raise KafkaError(ErrorCode.NOT_CONTROLLER) from None
        except (ProducerIdsExhausted, nodes.MalformedNode) as error:
            self._say(Fact("NoProducerIds", Level.ERROR, {"why": str(error)}))
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR) from None
        return range(block.block_start, block.block_end + 1)

    def refuse_all(self) -> None:
        """The term is over: whoever still waits for an answer has to ask another controller."""
        self._tickets.refuse_all(KafkaError(ErrorCode.NOT_CONTROLLER))

    async def _rest(self, nursery: trio.Nursery) -> None:
        """Wait for a watch or an answer, or for the controller's next deadline."""
        deadline = self.controller.next_deadline()
        self._bell = trio.Event()
        if deadline is None:
            await self._bell.wait()
            return
        with trio.move_on_after(max(0, deadline - self._clock()) / 1000) as waiting:
            await self._bell.wait()
        if waiting.cancelled_caught:
            await self._carry_out(nursery, self.controller.tick(self._clock()))

    async def _handle(self, nursery: trio.Nursery, event: Event) -> None:
        try:
            await self._carry_out(nursery, self.controller.handle(self._clock(), event))
        except Exception:
            if isinstance(event, ElectionAsked | ReassignmentAsked | IsrChangeAsked | ShutdownAsked):
                # Whoever asked what the controller failed at must not ask the next one the same.
                self._tickets.refuse(event.ticket, KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR))
            raise

    # Watching and looking

    async def _listen(self, watch: Watch, what: tuple[str, str]) -> None:
        while True:
            await watch.wait()
            self._look_at(what)

    def _look_at(self, what: tuple[str, str]) -> None:
        self._due[what] = None
        self._bell.set()

    async def _watch(self, path: str, what: tuple[str, str], *, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as scope:
            self._watched[what] = scope
            async with self._tree.watching_data(path) as watch:
                task_status.started()
                await self._listen(watch, what)

    async def _ensure_watched(self, nursery: trio.Nursery, path: str, what: tuple[str, str]) -> None:
        if what not in self._watched:
            await nursery.start(self._watch, path, what)

    def _unwatch(self, what: tuple[str, str]) -> None:
        scope = self._watched.pop(what, None)
        if scope is not None:
            scope.cancel()

    async def _look(self, nursery: trio.Nursery, what: tuple[str, str]) -> list[Event]:
        match what:
            case (kind, "") if kind == _BROKERS:
                return [BrokersSeen(await self._brokers(nursery))]
            case (kind, "") if kind == _TOPICS:
                return [await self._topics_seen(nursery)]
            case (kind, "") if kind == _DELETIONS:
                # A topic may have been made and marked within one breath: it must be known before its mark is.
                marked = await self._tree.children(nodes.DELETE_TOPICS)
                return [await self._topics_seen(nursery), DeletionsSeen(marked)]
            case (kind, "") if kind == _LOG_DIRS:
                brokers = await self._nodes.failed_log_dirs()
                return [LogDirsFailed(brokers)] if brokers else []
            case (kind, "") if kind == _ISR_CHANGES:
                await self._nodes.drop_isr_changes()
                return []
            case (kind, "") if kind == _ELECTION:
                election = await self._nodes.written_election()
                return [] if election is None else [ElectionWritten(election)]
            case (kind, "") if kind == _REASSIGNMENTS:
                return [ReassignmentsWritten(await self._nodes.written_reassignments())]
            case (kind, _) if kind == _BROKERS:
                return [BrokersSeen(await self._brokers(nursery))]
            case (_, topic):
                found = await self._nodes.topic(topic)
                if found is None:
                    return []
                if topic not in self.controller.cluster.topics:
                    # Its node made no sense until now, or it is a new one of that name.
                    return [await self._topics_seen(nursery)]
                return [TopicAssignmentChanged(topic, found)]
        return []

    async def _brokers(self, nursery: trio.Nursery) -> list[LiveBroker]:
        names = set(await self._tree.children(nodes.BROKER_IDS))
        for kind, name in tuple(self._watched):
            if kind == _BROKERS and name not in names:
                self._unwatch((kind, name))
        brokers = []
        for number in nodes.brokers_among(names):
            await self._ensure_watched(nursery, nodes.broker_path(number), (_BROKERS, str(number)))
            broker = await self._nodes.broker(number)
            if broker is not None:
                brokers.append(broker)
        return brokers

    async def _topics_seen(self, nursery: trio.Nursery) -> TopicsSeen:
        names = frozenset(await self._tree.children(nodes.TOPICS))
        for kind, name in tuple(self._watched):
            if kind == _TOPICS and name not in names:
                self._forget_topic(name)
        return TopicsSeen(names, await self._fresh_topics(nursery, names))

    async def _fresh_topics(self, nursery: trio.Nursery, names: Iterable[str]) -> dict[str, Topic]:
        """Those of the topics that the controller does not know, watched from now on even if they make no sense yet."""
        fresh: dict[str, Topic] = {}
        known = self.controller.cluster.topics

        async def meet(name: str) -> None:
            await self._ensure_watched(nursery, nodes.topic_path(name), (_TOPICS, name))
            found = await self._nodes.topic(name)
            if found is not None:
                fresh[name] = found

        await _each(meet, [name for name in sorted(names) if name not in known or (_TOPICS, name) not in self._watched])
        return fresh

    async def _read_all(self, nursery: trio.Nursery) -> TermBegan:
        brokers = await self._brokers(nursery)
        topics = await self._fresh_topics(nursery, await self._tree.children(nodes.TOPICS))
        states: dict[TopicPartition, PartitionState] = {}

        async def read(partition: TopicPartition) -> None:
            found = await self._nodes.state(partition)
            if found is not None:
                states[partition] = found

        await _each(read, [TopicPartition(name, index) for name, topic in topics.items() for index in topic.partitions])
        deletions = await self._tree.children(nodes.DELETE_TOPICS)
        return TermBegan(self._controller_epoch, brokers, topics, states, deletions)

    # Acting

    async def _carry_out(self, nursery: trio.Nursery, commands: Iterable[Command]) -> None:
        """Do what the controller wants, and what it wants once it has heard how that ended."""
        left = deque(commands)
        while left:
            outcomes: Sequence[Event] = ()
            command = left.popleft()
            match command:
                case WriteStates(writes):
                    outcomes = await self._nodes.write_states(writes)
                case WriteTopic(name, written):
                    outcomes = [await self._nodes.write_topic(name, written)]
                case ForgetTopic():
                    going = [command]
                    while left and len(going) < WRITES_TOGETHER and isinstance(left[0], ForgetTopic):
                        going.append(cast(ForgetTopic, left.popleft()))
                    outcomes = await self._nodes.remove_topics(going)
                    for topic in going:
                        self._forget_topic(topic.name)
                        self._gone.add(topic.name)
                    # A topic may have been made again already; its watch was the old one's.
                    self._look_at((_TOPICS, ""))
                case ForgetDeletion(name):
                    await self._nodes.remove(nodes.delete_topic_path(name))
                case ForgetElection():
                    await self._nodes.remove(nodes.PREFERRED_REPLICA_ELECTION)
                case WriteReassignments(unfinished):
                    await self._nodes.write_reassignments(unfinished)
                case TellBroker() as told:
                    await self._post(nursery, told)
                case AnswerTicket(ticket, verdicts):
                    self._tickets.answer(ticket, verdicts)
                case Note(fact):
                    self._say(fact)
            for outcome in outcomes:
                left.extend(self.controller.handle(self._clock(), outcome))
        self._close_queues()
        for name in tuple(self._gone):
            self._gone.discard(name)
            self._forgotten.ring(name)

    def _forget_topic(self, name: str) -> None:
        self._unwatch((_TOPICS, name))
        self._nodes.forget(name)

    # Telling brokers

    async def _post(self, nursery: trio.Nursery, told: TellBroker) -> None:
        key = (told.broker, told.broker_epoch)
        if key not in self._queues:
            sender, receiver = trio.open_memory_channel[Any](float("inf"))
            scope = trio.CancelScope()
            self._queues[key] = (sender, scope)
            nursery.start_soon(self._deliver, key, receiver, scope)
        self._queues[key][0].send_nowait(told.request)

    def _close_queues(self) -> None:
        brokers = self.controller.cluster.brokers
        for key in [key for key in self._queues if key[0] not in brokers or brokers[key[0]].epoch != key[1]]:
            self._queues.pop(key)[1].cancel()

    async def _deliver(
        self, key: tuple[BrokerId, int], queue: trio.MemoryReceiveChannel[Any], scope: trio.CancelScope
    ) -> None:
        """Send a broker its requests one after the other, each until it is answered."""
        broker, epoch = key
        with scope:
            async for request in queue:
                response = await self._tell_until_answered(broker, request)
                self._events.append(BrokerAnswered(broker, epoch, request, response))
                self._bell.set()

    async def _tell_until_answered(self, broker: BrokerId, request: Any) -> Any:
        has_said = False
        while True:
            try:
                return await self._tell(broker, request)
            except Unreachable as error:
                if not has_said:
                    self._say(Fact("BrokerUnreachable", Level.WARNING, {"broker": broker, "why": str(error)}))
                    has_said = True
                await trio.sleep(RETRY_AFTER_S)


async def _each(work: Callable[[Any], Awaitable[None]], items: Iterable[Any]) -> None:
    """Do the work for every item, some at a time."""
    left = deque(items)

    async def some() -> None:
        while left:
            await work(left.popleft())

    async with trio.open_nursery() as nursery:
        for _ in range(min(AT_ONCE, len(left))):
            nursery.start_soon(some)
