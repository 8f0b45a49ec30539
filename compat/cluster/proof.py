"""A cluster under load to which things happen: who plays which part, what is done to whom, and is all well then.

The loads run throughout. `check` reads the whole history again and everything the brokers hold, as often as wanted:
what was acknowledged up to then must be there, whatever comes later.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kazoo.client import KazooClient

from compat.cluster.contents import OFFSETS, differences, outcome
from compat.cluster.history import Failed, Outcome, Partition, problems, silences, undelivered
from compat.cluster.links import ZOOKEEPER, Links
from compat.cluster.loads import CONFLUENT, KINDS, Loads
from compat.cluster.servers import Cluster, Member, cluster, own_ensemble
from compat.servers import _home
from compat.waiting import until
from tests.cluster.zookeeper import Ensemble

TOPIC: Final = "proven"
GROUP: Final = "provers"
PARTITIONS: Final = 6
LAG_MS: Final = 4_000
"""A follower that is behind for so long is in sync no more."""

SETTINGS: Final[Mapping[str, str]] = {
    "offsets.topic.num.partitions": "3",
    "replica.lag.time.max.ms": str(LAG_MS),
    # Whoever asks a broker that hangs must give it up before the test gives up the cluster.
    "replica.socket.timeout.ms": "6000",
    "controller.socket.timeout.ms": "6000",
    "request.timeout.ms": "6000",
}

LEADER: Final = "leader"
FOLLOWER: Final = "follower"
CONTROLLER: Final = "controller"
COORDINATOR: Final = "coordinator"
ROLES: Final = (LEADER, FOLLOWER, CONTROLLER, COORDINATOR)

KILL: Final = "kill -9"
PAUSE: Final = "SIGSTOP"
STOP: Final = "SIGTERM"
WAYS: Final = (KILL, PAUSE, STOP)


@dataclass
class Proof:
    """The cluster, its ensemble, the links between all of them, the loads."""

    cluster: Cluster
    ensemble: Ensemble
    links: Links
    loads: Loads
    done: list[str] = field(default_factory=list)
    """What has happened so far, for whoever has to find out what went wrong."""

    def who(self, role: str) -> Member:
        """A broker that plays a part at this moment; as a follower, preferably one that plays no other."""
        controller = until(lambda: self.cluster.controller() + 1, what="a controller") - 1
        coordinator = until(lambda: self.cluster.coordinator(GROUP) + 1, what="a coordinator") - 1
        leader = until(lambda: self.cluster.leader(TOPIC) + 1, what="a leader") - 1
        if role == FOLLOWER:
            busy = {controller: 1, coordinator: 1, leader: 2}
            return min(self.cluster.members.values(), key=lambda member: busy.get(member.number, 0))
        return self.cluster.members[{LEADER: leader, CONTROLLER: controller, COORDINATOR: coordinator}[role]]

    def partition_without_controller(self) -> tuple[int, int, int]:
        """A partition, its leader and a follower, neither of them the controller: both need it to do without the other,
        of whom each leads something that the other follows."""
        controller = self.cluster.controller()
        return next(
            (index, leader, next(number for number in replicas if number not in (leader, controller)))
            for index, (leader, replicas, _) in self.cluster.partitions(TOPIC).items()
            if leader not in (controller, -1)
        )

    def lose(self, member: Member, way: str) -> None:
        """Take a broker away, see the others go on without it, and let it come back."""
        self.note(f"{way} of broker {member.number}")
        begun = time.time()
        if way == KILL:
            member.kill()
        elif way == PAUSE:
            member.pause()
        else:
            status = member.stop()
            assert status in (0, 143), f"broker {member.number} ended with status {status}"
        self.await_departure(member)
        self.loads.await_progress(begun)
        self.note(f"went on after {time.time() - begun:.1f} s")
        if way == PAUSE:
            member.resume()
        else:
            member.start()

    def lose_together(self, members: Sequence[Member]) -> None:
        """Kill several brokers at once, which leaves too few to acknowledge anything, and start them again."""
        self.note(f"kill -9 of brokers {', '.join(str(member.number) for member in members)} at once")
        for member in members:
            member.kill()
        for member in members:
            member.start()

    def await_departure(self, member: Member) -> None:
        """Return when the others lead everything."""

        def is_gone() -> bool:
            leaders = self.without(member.number).leaders(TOPIC).values()
            return bool(leaders) and member.number not in leaders and -1 not in leaders

        until(is_gone, what=f"the others to lead without broker {member.number}")

    def without(self, number: int) -> Cluster:
        """The rest of the cluster, to be asked what it knows."""
        rest = {other: member for other, member in self.cluster.members.items() if other != number}
        return Cluster(self.cluster.zookeeper, rest)

    def await_out_of_sync(self, partition: int, follower: int) -> None:
        """Return when the others say that this follower is behind."""

        def is_behind() -> bool:
            _, _, in_sync = self.without(follower).partitions(TOPIC)[partition]
            return follower not in in_sync

        until(is_behind, what=f"broker {follower} to fall behind in {TOPIC}-{partition}")

    def controller_seen_without(self, number: int) -> int:
        """Who is the controller, as the others say."""
        return self.without(number).controller()

    def registrations(self) -> dict[int, int]:
        """The transaction that made each broker's registration: another one, and it was given up in between."""
        client = KazooClient(self.ensemble.connect)
        client.start()
        try:
            return {number: client.exists(f"/brokers/ids/{number}").czxid for number in self.cluster.members}
        finally:
            client.stop()
            client.close()

    @contextlib.contextmanager
    def cut(self, *ways: tuple[int, int]) -> Iterator[None]:
        """Cut links one way each, and make them whole in the end."""
        self.note(f"cut {', '.join(f'{_name(source)} to {_name(target)}' for source, target in ways)}")
        for source, target in ways:
            self.links.cut(source, target)
        try:
            yield
        finally:
            self.links.heal()
            self.note("whole again")

    def await_silence(self, partition: int, seconds: float) -> None:
        """Return when nothing written to a partition has been acknowledged for so long."""
        place = Partition(TOPIC, partition)

        def is_silent() -> bool:
            last = max((each.at for each in self.loads.read().acknowledged if each.partition == place), default=0.0)
            return time.time() - last > seconds

        until(is_silent, what=f"{place} to fall silent")

    def recover(self) -> None:
        """Return when all are there again, all is in sync, led by those who are preferred, and everybody goes on."""
        self.cluster.await_members()
        self.cluster.await_in_sync()
        self.cluster.prefer_leaders()
        self.loads.await_progress(time.time())

    def check(self) -> None:
        """Raises `AssertionError` with everything that is wrong by now."""
        told = self.loads.read().heard_so_far()
        held = self._held()
        # What was sent meanwhile may be there already, what was heard meanwhile need not be.
        told.sent |= self.loads.read().sent
        found = problems(told, held)
        assert not found, "\n".join(found)

    def _held(self) -> Outcome:
        folders = {
            Partition(TOPIC, index): self.cluster.members[leader].data_dir / f"{TOPIC}-{index}"
            for index, leader in self.cluster.leaders(TOPIC).items()
        }
        return outcome(self.cluster.bootstrap, TOPIC, GROUP, folders)

    def failed_since(self, begun: float) -> list[Failed]:
        """What clients could not hide from their programs after this moment."""
        return [each for each in self.loads.read().failed if each.at >= begun]

    def silences_since(self, begun: float) -> dict[Partition, float]:
        """For each partition, the longest time in which nothing written to it was acknowledged."""
        return silences(self.loads.read(), begun, time.time())

    def finish(self) -> None:
        """Let the producers end, the group read everything and leave; then look at all there is, on every replica."""
        self.loads.end_writers()
        held = self._held()
        until(
            lambda: not undelivered(self.loads.read(), held, TOPIC),
            what="the group to get everything: " + "; ".join(undelivered(self.loads.read(), held, TOPIC)),
        )
        self.loads.end_readers()
        self.check()
        self.cluster.await_in_sync()
        homes = {number: member.data_dir for number, member in self.cluster.members.items()}
        replicas = {
            Partition(topic, index): brokers
            for topic in (TOPIC, OFFSETS)
            for index, brokers in self.cluster.replicas(topic).items()
        }
        found = until_none(lambda: differences(homes, replicas))
        assert not found, "\n".join(found)

    def note(self, text: str) -> None:
        """Remember what happens."""
        self.done.append(f"{time.strftime('%H:%M:%S')} {text}")

    def story(self) -> str:
        """What happened so far, to brokers and to clients, and the ends of the brokers' logs."""
        failed = [f"{each.who}: {each.what}" for each in self.loads.read().failed[-20:]]
        standing = [
            f"{index}: leader, replicas, in sync: {each}" for index, each in self.cluster.partitions(TOPIC).items()
        ]
        roles = f"controller {self.cluster.controller()}, coordinator {self.cluster.coordinator(GROUP)}"
        resets = [f"{load.name}: {line}" for load in self.loads.readers for line in load.resets()[-10:]]
        return "\n".join([*self.done, *failed, *resets, roles, *standing, self.cluster.logs(4000)])


def until_none(look: Callable[[], list[str]], within_s: float = 10) -> list[str]:
    """What `look` still finds when it has had time to find nothing."""
    with contextlib.suppress(AssertionError):
        until(lambda: not look(), within_s=within_s)
    return look()


def _name(number: int) -> str:
    return "ZooKeeper" if number == ZOOKEEPER else f"broker {number}"


@contextlib.contextmanager
def proof(kinds: Sequence[str], properties: Mapping[str, str] | None = None, *, heap: str = "256m") -> Iterator[Proof]:
    """Three ZooKeeper servers, brokers of these kinds, three producers and three members of a group, all going."""
    with contextlib.ExitStack() as stack:
        links = stack.enter_context(Links())
        ensemble = stack.enter_context(own_ensemble())
        settings = {**SETTINGS, **(properties or {})}
        brokers = stack.enter_context(cluster(kinds, ensemble.connect, settings, heap=heap, links=links))
        home = stack.enter_context(_home("loads"))
        yield begin(stack, brokers, ensemble, links, home)


def begin(stack: contextlib.ExitStack, brokers: Cluster, ensemble: Ensemble, links: Links, home: Path) -> Proof:
    """Make the topic and start the loads; return when every partition and every member goes on."""
    brokers.make_topic(TOPIC, PARTITIONS)
    loads = Loads(brokers.bootstrap, TOPIC, PARTITIONS, GROUP, home)
    stack.callback(loads.kill)
    for kind in KINDS:
        loads.start_writer(kind)
        loads.start_reader(kind)
    made = Proof(brokers, ensemble, links, loads)
    try:
        loads.await_progress(time.time())
        made.recover()
    except AssertionError as problem:
        raise AssertionError(f"{problem}\n{made.story()}") from problem
    return made


def random_steps(made: Proof, dice: random.Random, count: int) -> None:
    """So many things after each other, as the dice have it, with a check after each."""
    for _ in range(count):
        what = dice.choice([*WAYS, *WAYS, "several", "link", "ZooKeeper", "reader"])
        member = made.cluster.members[dice.choice(sorted(made.cluster.members))]
        if what in WAYS:
            made.lose(member, what)
        elif what == "several":
            numbers = dice.sample(sorted(made.cluster.members), dice.choice([2, len(made.cluster.members)]))
            made.lose_together([made.cluster.members[number] for number in numbers])
        elif what == "link":
            other = dice.choice([number for number in (*made.cluster.members, ZOOKEEPER) if number != member.number])
            way = (member.number, other)
            both = dice.random() < 0.5
            with made.cut(way, *([way[::-1]] if both else [])):
                until(_after(dice.uniform(1, 12)), what="the cut to last")
        elif what == "ZooKeeper":
            lose_zookeeper(made, dice.choice(range(len(made.ensemble.servers))), paused=dice.random() < 0.5)
        else:
            made.note("a member leaves and another comes")
            leaver = dice.choice([load for load in made.loads.readers if load.is_running])
            leaver.leave()
            made.loads.start_reader(CONFLUENT)
        made.recover()
        made.check()


def lose_ensemble(made: Proof) -> None:
    """Take all ZooKeeper servers away at once and start them again; sessions go on where they were."""
    made.note("all ZooKeeper servers killed")
    made.ensemble.kill()
    made.ensemble.start()


def lose_zookeeper(made: Proof, index: int, *, paused: bool) -> None:
    """Take one ZooKeeper server of three away for a while and let it come back."""
    server = made.ensemble.servers[index]
    made.note(f"ZooKeeper server {index} {'paused' if paused else 'killed'} ({server.mode})")
    begun = time.time()
    if paused:
        server.pause()
    else:
        server.kill()
    others = [each for each in made.ensemble.servers if each is not server]
    until(lambda: any(each.mode == "leader" for each in others), what="the other ZooKeeper servers to agree")
    made.loads.await_progress(begun)
    if paused:
        server.resume()
    else:
        server.start()
    made.ensemble.start()


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
