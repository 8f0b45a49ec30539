"""Several brokers on one virtual clock and a bad network, all of it from a seed.

Brokers are the real ones, without tasks and sockets: controller, leaderships, followers and logs decide as they always
do. What is simulated is what lies between them: a tree, messages that come late or never, processes that stop, and
clients that want their records kept. After every step the world checks what must hold at any moment.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.control.cluster import PartitionState
from pykafka_broker.control.commands import AnswerTicket, Command, Note, TellBroker, WriteStates, WriteTopic
from pykafka_broker.control.controller import Controller, ControllerSettings
from pykafka_broker.control.events import (
    BrokerAnswered,
    BrokersSeen,
    Event,
    IsrChangeAsked,
    ReassignmentAsked,
    ShutdownAsked,
    TermBegan,
    TopicAssignmentChanged,
    TopicsSeen,
)
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.log.slice import Isolation
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, Offset, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.leaderships import Leadership
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build, records
from pykafka_broker.wire.formats import headers
from tests.doubles.memory_logs import MemoryLogs
from tests.doubles.replica_broker import ReplicaBroker
from tests.simulation.tree import Tree

SESSION_TIMEOUT_MS = 6_000
REQUEST_TIMEOUT_MS = 2_000
LAG_TIME_MAX_MS = 3_000
PRODUCE_TIMEOUT_MS = 10_000
FORBIDDEN_FACTS = {"CommittedRecordsCut", "FollowingFailed", "LogAheadOfLeader"}
"""What never happens with clean elections."""

Reply = Callable[[Any], None]


class Scheduler:
    """What is to happen, in order of time; everything random comes from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = Millis(1_000_000)
        self.steps = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def later(self, delay_ms: float, work: Callable[[], None]) -> None:
        """Do something after so long."""
        heapq.heappush(self._queue, (round(self.now + delay_ms), next(self._numbers), work))

    def step(self) -> bool:
        """Do what is next; false when nothing is left."""
        if not self._queue:
            return False
        at, _, work = heapq.heappop(self._queue)
        self.now = Millis(max(self.now, at))
        self.steps += 1
        work()
        return True


@dataclass
class _Awaited:
    """A producer's append that waits for its replicas."""

    leadership: Leadership
    term: int
    base_offset: int
    last_offset: int
    reply: Reply


class Node:
    """One broker: its processes come and go, its disks stay."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.me = BrokerId(number)
        self.logs = MemoryLogs()
        self.checkpoint: dict[TopicPartition, int] = {}
        self.life = 0
        """Grows with every start and end of the process: what was meant for an earlier one is lost."""
        self.is_up = False
        self.is_paused = False
        self._deferred: list[Callable[[], None]] = []
        self.last_seen_by_tree = world.now
        """When the tree last heard of the session that it knows."""
        self._begin()

    def _begin(self) -> None:
        self.broker = ReplicaBroker(
            self.me, lambda: self.world.now, self.logs, self._noted, min_insync_replicas=self.world.min_isr
        )
        self.broker.leaderships.surroundings.lag_time_max_ms = LAG_TIME_MAX_MS
        self.broker.leaderships.surroundings.propose_isr = self._propose
        self.epoch = -1
        self.term: Term | None = None
        self._asking: set[BrokerId] = set()
        self._awaited: list[_Awaited] = []
        self._seen: dict[TopicPartition, int] = {}

    def _noted(self, fact: Fact) -> None:
        assert fact.name not in FORBIDDEN_FACTS, f"broker {self.me}: {fact}"

    # Life and death

    def start(self) -> None:
        """Start the process: logs are recovered, high watermarks are those of the last checkpoint."""
        if self.is_up:
            return
        self.life += 1
        self.is_up, self.is_paused = True, False
        self._deferred.clear()
        for partition, disk in self.logs.disks.items():
            self.logs.logs[partition] = PartitionLog.open(
                disk,
                partition,
                TopicSettings(min_insync_replicas=self.world.min_isr),
                self.world.now,
                clean=False,
                high_watermark=self.checkpoint.get(partition, 0),
            )
        self._begin()
        self._register()
        self._every(LAG_TIME_MAX_MS / 2, self._drop_laggards)
        self._every(700, self._write_checkpoint)
        self._every(500, self._show_life)

    def kill(self) -> None:
        """End the process at once; what it has written stays."""
        self.life += 1
        self.is_up = self.is_paused = False

    def pause(self) -> None:
        """Let the process hang."""
        if self.is_up:
            self.is_paused = True

    def resume(self) -> None:
        """Let it go on, with everything that came meanwhile."""
        if not self.is_paused:
            return
        self.is_paused = False
        if self.world.now - self.last_seen_by_tree > SESSION_TIMEOUT_MS:
            self._session_lost()
        deferred, self._deferred = self._deferred, []
        for work in deferred:
            self.world.later(self.world.random.uniform(0, 5), work)

    def act(self, work: Callable[[], None], life: int | None = None) -> None:
        """Do something in this process, if it is still the one that was meant, when it runs."""
        life = self.life if life is None else life
        if not self.is_up or life != self.life:
            return
        if self.is_paused:
            self._deferred.append(lambda: self.act(work, life))
            return
        work()
        self._settle()

    def _every(self, interval_ms: float, work: Callable[[], None]) -> None:
        life = self.life

        def once() -> None:
            if self.life == life and self.is_up:
                self.act(work, life)
                self.world.later(interval_ms, once)

        self.world.later(self.world.random.uniform(0, interval_ms), once)

    def _write_checkpoint(self) -> None:
        self.checkpoint = {partition: log.high_watermark for partition, log in self.logs.logs.items()}

    def _drop_laggards(self) -> None:
        for part in tuple(self.broker.leaderships.hosted.values()):
            part.drop_laggards()

    # The session with the tree

    def _show_life(self) -> None:
        if self.epoch >= 0 and self.world.reaches_tree(self.me):
            if self.world.tree.brokers.get(self.me) != self.epoch:
                self._session_lost()
            else:
                self.last_seen_by_tree = self.world.now

    def _session_lost(self) -> None:
        self.term = None
        self.epoch = -1
        self._register()

    def _register(self) -> None:
        """Wait for the node of an earlier session to go, then register and stand for controller."""
        world, life = self.world, self.life

        def attempt() -> None:
            if self.epoch >= 0:
                return
            if self.me in world.tree.brokers or not world.reaches_tree(self.me):
                world.later(200, lambda: self.act(attempt, life))
                return
            self.epoch = world.tree.register(self.me)
            self.broker.leaderships.broker_epoch = self.epoch
            self.last_seen_by_tree = world.now

        world.later(1, lambda: self.act(attempt, life))

    # What happens after every step of this process

    def _settle(self) -> None:
        for leader, follower in self.broker.followers.items():
            if len(follower) and leader not in self._asking:
                self._ask(leader)
        left = []
        for one in self._awaited:
            if not self._is_answered(one):
                left.append(one)
        self._awaited = left
        self.check()

    def check(self) -> None:
        """What must hold in this broker at any moment."""
        hosted = self.broker.leaderships.hosted
        self._seen = {partition: mark for partition, mark in self._seen.items() if partition in hosted}
        for partition, part in hosted.items():
            mark = part.log.high_watermark
            assert mark >= self._seen.get(partition, 0), f"{partition} on {self.me}: high watermark went back to {mark}"
            self._seen[partition] = mark
            if part.is_leader:
                self.world.leads(partition, part.leader_epoch, self.me)

    # Following

    def _ask(self, leader: BrokerId) -> None:
        follower = self.broker.followers[leader]
        question, life = follower.next_question(self.world.now), self.life
        if question is None:
            deadline = follower.next_deadline()
            if deadline is not None:
                self._asking.add(leader)
                rest_ms = max(1, deadline - self.world.now)
                self.world.later(rest_ms, lambda: self.act(lambda: self._ready(leader), life))
            return
        self._asking.add(leader)
        world = self.world

        def taken(response: Any) -> None:
            follower.take(world.now, question, response)
            # A long poll: an answer without records comes late.
            is_empty = not any(
                entry.records for topic in getattr(response, "responses", ()) for entry in topic.partitions
            )
            rest_ms = world.random.uniform(5, 60) if is_empty else world.random.uniform(0, 5)
            world.later(rest_ms, lambda: self.act(lambda: self._ready(leader), life))

        def failed() -> None:
            follower.failed(world.now)
            self._ready(leader)

        world.call(self, leader, lambda node, reply: reply(node.broker.reply(question)), taken, failed)

    def _ready(self, leader: BrokerId) -> None:
        self._asking.discard(leader)

    # Proposing in-sync replicas

    def _propose(self, part: Leadership) -> None:
        proposal = part.followers.pending
        world = self.world

        def again() -> None:
            if part.followers.pending is proposal and part.is_leader:
                self._propose(part)

        def answered(verdict: Any) -> None:
            if isinstance(verdict, PartitionState):
                part.isr_confirmed(verdict.leader_epoch, verdict.version, verdict.isr)
            elif part.followers.pending is proposal:
                if verdict.code in (ErrorCode.INELIGIBLE_REPLICA, ErrorCode.OPERATION_NOT_ATTEMPTED):
                    part.followers.go_back()
                elif verdict.code in (ErrorCode.NOT_CONTROLLER, ErrorCode.STALE_BROKER_EPOCH):
                    life = self.life
                    world.later(50, lambda: self.act(again, life))

        if proposal is None:
            return
        wish = IsrWish(part.leader_epoch, part.partition_epoch, proposal.isr)
        epoch = self.epoch

        def ask(node: Node, reply: Reply) -> None:
            node.petition(
                lambda ticket: IsrChangeAsked(ticket, self.me, epoch, {part.partition: wish}),
                lambda found: reply(found if isinstance(found, KafkaError) else found[part.partition]),
            )

        life = self.life
        retry = lambda: world.later(50, lambda: self.act(again, life))  # noqa: E731
        world.call(self, self.broker.metadata.controller_id, ask, answered, retry)

    def petition(self, make: Callable[[Ticket], Event], reply: Reply) -> None:
        """Ask this broker as the controller; one that has lost its session does not know that another one is."""
        if self.term is None:
            reply(KafkaError(ErrorCode.NOT_CONTROLLER))
        else:
            self.term.ask(make, reply)

    # Producing

    def wipe(self) -> None:
        """Give the process, which is down, an empty disk."""
        self.logs = MemoryLogs()
        self.checkpoint.clear()
        self._seen.clear()

    def produce(self, partition: TopicPartition, values: Sequence[bytes], reply: Reply) -> None:
        """Append records, as one batch, with acks=all; the reply is the first one's offset, or why not."""
        try:
            part = self.broker.leaderships.leader(partition)
            part.require_enough_replicas()
            batch = build([Record(timestamp=self.world.now, key=None, value=value) for value in values])
            appended = part.append(self.world.now, batch, origin=Origin.CLIENT, api_version=9)
        except KafkaError as error:
            reply(error)
            return
        self._awaited.append(_Awaited(part, part.term, appended.base_offset, appended.last_offset, reply))

    @staticmethod
    def _is_answered(one: _Awaited) -> bool:
        part = one.leadership
        try:
            part.require_leadership(one.term)
            if part.log.high_watermark <= one.last_offset:
                return False
            part.require_enough_replicas(after_append=True)
        except KafkaError as error:
            one.reply(error)
        else:
            one.reply(one.base_offset)
        return True


class Term:
    """A broker as the controller: what it wants done is done one thing after the other, as long as it lives."""

    def __init__(self, node: Node, epoch: int) -> None:
        self.node = node
        self.world = node.world
        self.epoch = epoch
        self.controller = Controller(
            node.me,
            ControllerSettings(leader_imbalance_check_interval_seconds=20),
            lambda: TopicId(self.world.new_id()),
            lambda topic: False,
        )
        self._commands: deque[Command] = deque()
        self._queues: dict[tuple[BrokerId, int], deque[Any]] = {}
        self._tickets = itertools.count(1)
        self._replies: dict[Ticket, Reply] = {}
        self._known = set(self.world.tree.topics)
        self._is_busy = False
        tree = self.world.tree
        self._commands.extend(
            self.controller.handle(
                self.world.now, TermBegan(epoch, tree.live(), dict(tree.topics), dict(tree.states), ())
            )
        )
        self._go_on()

    @property
    def is_over(self) -> bool:
        """Whether the broker knows that it is not the controller any more."""
        return self.node.term is not self

    def hear(self, event: Event) -> None:
        """Hand an event to the controller, which decides at once and acts bit by bit."""
        if not self.is_over:
            self._commands.extend(self.controller.handle(self.world.now, event))
            self._go_on()

    def ask(self, make: Callable[[Ticket], Event], reply: Reply) -> None:
        """An event that somebody waits for the answer of."""
        ticket = Ticket(next(self._tickets))
        self._replies[ticket] = reply
        self.hear(make(ticket))

    def look(self, what: str) -> None:
        """Look at what has changed in the tree."""
        tree = self.world.tree
        if what == "/brokers":
            self.hear(BrokersSeen(tree.live()))
        elif what == "/topics":
            fresh = {name: topic for name, topic in tree.topics.items() if name not in self._known}
            self._known = set(tree.topics)
            self.hear(TopicsSeen(frozenset(tree.topics), fresh))
        elif what in tree.topics:
            self.hear(TopicAssignmentChanged(what, tree.topics[what]))

    def _go_on(self) -> None:
        if self._is_busy or not self._commands:
            return
        self._is_busy = True
        life = self.node.life
        self.world.later(self.world.random.uniform(0, 3), lambda: self.node.act(self._carry_out, life))

    def _carry_out(self) -> None:
        self._is_busy = False
        if self.is_over or not self._commands:
            return
        world, command = self.world, self._commands.popleft()
        if isinstance(command, WriteStates | WriteTopic):
            if not world.reaches_tree(self.node.me):
                # It waits for the tree, as long as that takes.
                self._commands.appendleft(command)
                self._is_busy = True
                life = self.node.life
                world.later(200, lambda: self.node.act(self._carry_out, life))
                return
            if world.tree.controller_epoch != self.epoch:
                self.node.term = None
                return
            if isinstance(command, WriteStates):
                outcomes = world.tree.write_states(command.writes)
            else:
                outcomes = [world.tree.write_topic(command.name, command.topic)]
            for outcome in outcomes:
                # Behind what was decided before, as the control loop has it: brokers are told nothing that is outdated.
                self._commands.extend(self.controller.handle(world.now, outcome))
        elif isinstance(command, TellBroker):
            queue = self._queues.setdefault((command.broker, command.broker_epoch), deque())
            queue.append(command.request)
            if len(queue) == 1:
                self._tell(command.broker, command.broker_epoch)
        elif isinstance(command, AnswerTicket):
            reply = self._replies.pop(command.ticket, None)
            if reply is not None:
                reply(command.verdicts)
        else:
            assert isinstance(command, Note), command
        self._go_on()

    def _tell(self, broker: BrokerId, epoch: int) -> None:
        """Send a broker the first of its requests until it is answered."""
        known = self.controller.cluster.brokers.get(broker)
        queue = self._queues[broker, epoch]
        if self.is_over or known is None or known.epoch != epoch or not queue:
            queue.clear()
            return
        request, world = queue[0], self.world

        def obey(node: Node, reply: Reply) -> None:
            leaderships = node.broker.leaderships
            if isinstance(request, messages.LeaderAndIsrRequest):
                reply(leaderships.lead_and_follow(request))
            elif isinstance(request, messages.UpdateMetadataRequest):
                reply(leaderships.update_metadata(request))
            else:
                reply(leaderships.stop(request))

        def answered(response: Any) -> None:
            if queue and queue[0] is request:
                queue.popleft()
                self.hear(BrokerAnswered(broker, epoch, request, response))
            self._tell(broker, epoch)

        def again() -> None:
            life = self.node.life
            world.later(100, lambda: self.node.act(lambda: self._tell(broker, epoch), life))

        world.call(self.node, broker, obey, answered, again)

    def tick(self) -> None:
        """Let the controller do what is due."""
        deadline = self.controller.next_deadline()
        if deadline is not None and deadline <= self.world.now:
            self._commands.extend(self.controller.tick(self.world.now))
            self._go_on()


class World(Scheduler):
    """Brokers, their tree, their network, and the records that were promised."""

    def __init__(self, seed: int, brokers: int = 3, *, min_isr: int = 2) -> None:
        super().__init__(seed)
        self.seed = seed
        self.min_isr = min_isr
        self.tree = Tree(self._changed)
        self.cut: set[tuple[BrokerId, BrokerId]] = set()
        """Links on which nothing arrives any more, from one broker to another."""
        self.cut_from_tree: set[BrokerId] = set()
        self.loss = 0.01
        self.acked: dict[TopicPartition, dict[int, bytes]] = {}
        self.refused = 0
        self.trimmed: dict[TopicPartition, int] = {}
        """Up to where records were deleted."""
        self.exposed: dict[TopicPartition, dict[int, bytes]] = {}
        """Every record that a consumer could ever read."""
        self._leaders: dict[tuple[TopicPartition, int], BrokerId] = {}
        self._ids = itertools.count(1)
        self.nodes = {BrokerId(number): Node(self, number) for number in range(brokers)}
        self.later(100, self._keep_time)

    def new_id(self) -> Any:
        """The next topic id."""
        from uuid import UUID

        return UUID(int=next(self._ids))

    # Time, sessions and elections

    def _keep_time(self) -> None:
        self.later(100, self._keep_time)
        for broker, node in self.nodes.items():
            if broker in self.tree.brokers and self.now - node.last_seen_by_tree > SESSION_TIMEOUT_MS:
                self.tree.expire(broker)
        for node in self.nodes.values():
            life = node.life
            if node.term is not None:
                node.act(node.term.tick, life)
        if self.tree.controller is None:
            candidates = [one for one in self.nodes.values() if one.epoch >= 0 and self.reaches_tree(one.me)]
            if candidates:
                node = self.random.choice(candidates)
                life = node.life
                self.later(self.random.uniform(1, 50), lambda: node.act(lambda: self._stand(node), life))

    def _stand(self, node: Node) -> None:
        if self.tree.brokers.get(node.me) != node.epoch:
            return
        epoch = self.tree.elect(node.me)
        if epoch is not None:
            node.term = Term(node, epoch)

    def _changed(self, what: str) -> None:
        """A watch of the controller goes off, some time later."""
        controller = self.tree.controller
        if controller is None or controller not in self.nodes:
            return
        node = self.nodes[controller]
        term, life = node.term, node.life
        if term is not None:
            self.later(self.random.uniform(1, 30), lambda: node.act(lambda: term.look(what), life))

    def reaches_tree(self, broker: BrokerId) -> bool:
        """Whether the broker is connected to the tree."""
        node = self.nodes[broker]
        return node.is_up and not node.is_paused and broker not in self.cut_from_tree

    # The network

    def call(
        self,
        source: Node,
        target: BrokerId,
        work: Callable[[Node, Reply], None],
        answered: Callable[[Any], None],
        failed: Callable[[], None],
    ) -> None:
        """Have a broker do something and reply; one of the two last is called, once, in the process that asked."""
        life, is_over = source.life, False
        node = self.nodes.get(target)

        def end(finish: Callable[[], None]) -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                source.act(finish, life)

        def reply(response: Any) -> None:
            assert node is not None
            if self._arrives(node.me, source.me):
                self.later(self._delay(), lambda: end(lambda: answered(response)))

        self.later(REQUEST_TIMEOUT_MS, lambda: end(failed))
        if node is None or not node.is_up:
            self.later(2, lambda: end(failed))
        elif self._arrives(source.me, target):
            target_life = node.life
            self.later(self._delay(), lambda: node.act(lambda: work(node, reply), target_life))

    def _arrives(self, source: BrokerId, target: BrokerId) -> bool:
        if source == target:
            return True
        return (source, target) not in self.cut and self.random.random() >= self.loss

    def _delay(self) -> float:
        # Mostly quick, now and then very slow.
        return self.random.uniform(0, 4) if self.random.random() < 0.98 else self.random.uniform(50, 1_500)

    # Producers

    def produce(self, partition: TopicPartition, *values: bytes) -> None:
        """Send a batch to whom some broker says is the leader; it is promised when that one acknowledges it."""
        asked = self.random.choice(list(self.nodes.values()))
        known = asked.broker.metadata.partition(partition) if asked.is_up else None
        if known is None or known.leader not in self.nodes:
            self.refused += 1
            return
        node = self.nodes[known.leader]
        life = node.life

        def reply(found: Any) -> None:
            if isinstance(found, KafkaError):
                self.refused += 1
                return
            kept = self.acked.setdefault(partition, {})
            for offset, value in enumerate(values, found):
                assert offset not in kept, (
                    f"offset {offset} of {partition} was given twice: {kept[offset]!r} and {value!r}"
                )
                kept[offset] = value

        self.later(self._delay(), lambda: node.act(lambda: node.produce(partition, values, reply), life))

    def trim(self, partition: TopicPartition) -> None:
        """Delete some of a partition's records where a broker leads it that the tree, too, takes for the leader."""
        state = self.tree.states.get(partition)
        if state is None or state.leader not in self.nodes:
            return
        node = self.nodes[state.leader]

        def delete() -> None:
            part = node.broker.leaderships.get(partition)
            if part is not None and part.is_leader and part.leader_epoch == state.leader_epoch:
                offset = self.random.randint(part.log.log_start_offset, part.log.high_watermark)
                part.delete_records(Offset(offset))
                self.trimmed[partition] = max(offset, self.trimmed.get(partition, 0))

        node.act(delete)

    def reassign(self, partition: TopicPartition) -> None:
        """Ask the controller to move a partition to other brokers."""
        node = self.nodes.get(self.tree.controller) if self.tree.controller is not None else None
        if node is not None:
            wanted = tuple(self.random.sample(sorted(self.nodes), 3))
            node.act(
                lambda: node.petition(lambda ticket: ReassignmentAsked(ticket, {partition: wanted}), lambda _: None)
            )

    # Consumers

    def look_at_what_is_exposed(self) -> None:
        """What consumers can read anywhere is what they could read anywhere else, and before."""
        for node in self.nodes.values():
            if not node.is_up or node.is_paused:
                continue
            for partition, part in node.broker.leaderships.hosted.items():
                known = self.exposed.setdefault(partition, {})
                for offset, value in contents(part.log).items():
                    if part.log.log_start_offset <= offset < part.log.high_watermark:
                        first = known.setdefault(offset, value)
                        assert first == value, f"{partition} on {node.me} has {value!r} at {offset}, it was {first!r}"

    # What must hold

    def leads(self, partition: TopicPartition, epoch: int, broker: BrokerId) -> None:
        """A broker believes to lead a partition in an epoch; nobody else ever did."""
        assert self._leaders.setdefault((partition, epoch), broker) == broker, (
            f"{partition} has two leaders in epoch {epoch}: {self._leaders[partition, epoch]} and {broker}"
        )

    def check_promises(self) -> None:
        """Every acknowledged record is in the log of every replica that is in sync."""
        for partition, promised in self.acked.items():
            state = self.tree.states.get(partition)
            if state is None:
                continue
            for broker in state.isr:
                log = self.nodes[broker].logs.get(partition)
                assert log is not None, f"{broker} is in sync for {partition} and has no log"
                found = contents(log)
                start = self.trimmed.get(partition, 0)
                lost = {at: value for at, value in promised.items() if at >= start and found.get(at) != value}
                assert not lost, f"{partition} on {broker}, in sync in epoch {state.leader_epoch}, has lost {lost}"

    def shut_down(self, node: Node) -> None:
        """Stop a broker in good order: it asks the controller, and goes when it has heard."""
        life = node.life

        def go(_: Any = None) -> None:
            self.tree.expire(node.me)
            node.kill()

        def ask() -> None:
            epoch = node.epoch
            self.call(
                node,
                node.broker.metadata.controller_id,
                lambda controller, reply: controller.petition(
                    lambda ticket: ShutdownAsked(ticket, node.me, epoch), reply
                ),
                go,
                go,
            )

        node.act(ask, life)


def contents(log: PartitionLog) -> dict[int, bytes]:
    """Every record of a log, by offset."""
    found: dict[int, bytes] = {}
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        data = memoryview(read_pieces(log.read(offset, 1 << 20, isolation=Isolation.LOG_END).pieces))
        for position, header in headers(data):
            for record in records(data[position : position + header.size_bytes]):
                found[record.offset] = bytes(record.value or b"")
            offset = header.next_offset
    return found
