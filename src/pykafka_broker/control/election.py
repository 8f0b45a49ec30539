"""Who leads a partition: Kafka's elections as functions from what is known to the next state, or none.

After ``kafka.controller.Election`` and ``PartitionStateMachine``. ``None`` always means "leave it as it is".
A replica is live when its broker is registered and its log directory works; a broker that is shutting down still
serves, but is not elected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from msgspec.structs import replace

from pykafka_broker.control.cluster import Assignment, PartitionState
from pykafka_broker.model.names import NO_BROKER, BrokerId, LeaderEpoch


def first_state(assignment: Assignment, live: Collection[BrokerId], controller_epoch: int) -> PartitionState | None:
    """The state of a partition that never had one: the first live replica leads, all live ones are in sync."""
    isr = tuple(broker for broker in assignment.replicas if broker in live)
    if not isr:
        return None
    return PartitionState(isr[0], LeaderEpoch(0), isr, controller_epoch)


def _next(
    state: PartitionState,
    leader: BrokerId,
    isr: tuple[BrokerId, ...],
    controller_epoch: int,
    *,
    is_recovering: bool | None = None,
) -> PartitionState:
    return replace(
        state,
        leader=leader,
        isr=isr,
        leader_epoch=LeaderEpoch(state.leader_epoch + 1),
        controller_epoch=controller_epoch,
        is_recovering=state.is_recovering if is_recovering is None else is_recovering,
    )


def elect_offline(
    assignment: Assignment,
    state: PartitionState,
    live: Collection[BrokerId],
    controller_epoch: int,
    *,
    may_be_unclean: Callable[[], bool],
) -> PartitionState | None:
    """A leader for a partition without one: the first live replica in sync, or, if allowed, any live one.

    An unclean leader starts alone in the ISR and recovering (KIP-704). ``None``: nobody can lead.
    """
    for broker in assignment.replicas:
        if broker in live and broker in state.isr:
            isr = tuple(member for member in state.isr if member in live)
            return _next(state, broker, isr, controller_epoch)
    if may_be_unclean():
        for broker in assignment.replicas:
            if broker in live:
                return _next(state, broker, (broker,), controller_epoch, is_recovering=True)
    return None


def elect_preferred(
    assignment: Assignment, state: PartitionState, live: Collection[BrokerId], controller_epoch: int
) -> PartitionState | None:
    """Leadership for the first replica of the assignment if it is live and in sync."""
    preferred = assignment.replicas[0]
    if preferred in live and preferred in state.isr:
        return _next(state, preferred, state.isr, controller_epoch)
    return None


def elect_for_reassignment(
    targets: Collection[BrokerId], state: PartitionState, live: Collection[BrokerId], controller_epoch: int
) -> PartitionState | None:
    """Leadership for the first target replica that is live and in sync."""
    for broker in targets:
        if broker in live and broker in state.isr:
            return _next(state, broker, state.isr, controller_epoch)
    return None


def elect_for_shutdown(
    assignment: Assignment,
    state: PartitionState,
    live: Collection[BrokerId],
    shutting_down: Collection[BrokerId],
    controller_epoch: int,
) -> PartitionState | None:
    """Leadership for the first live replica in sync that stays; the ISR loses those that go."""
    for broker in assignment.replicas:
        if broker in live and broker in state.isr and broker not in shutting_down:
            isr = tuple(member for member in state.isr if member not in shutting_down)
            return _next(state, broker, isr, controller_epoch)
    return None


def without_dead(state: PartitionState, live: Collection[BrokerId], controller_epoch: int) -> PartitionState | None:
    """The ISR without replicas that are not live, the last one excepted; a dead leader leaves its place empty.

    ``ReplicaStateMachine.doRemoveReplicasFromIsr``, for all dead replicas at once.
    """
    isr = tuple(member for member in state.isr if member in live) or state.isr[:1]
    leader = state.leader if state.leader in live else NO_BROKER
    if isr == state.isr and leader == state.leader:
        return None
    return _next(state, leader, isr, controller_epoch)


def settle(
    assignment: Assignment,
    state: PartitionState | None,
    live: Collection[BrokerId],
    shutting_down: Collection[BrokerId],
    controller_epoch: int,
    *,
    may_be_unclean: Callable[[], bool],
) -> PartitionState | None:
    """What a partition's state has to become after brokers, replicas or its assignment changed."""
    candidates = [broker for broker in live if broker not in shutting_down] if shutting_down else live
    if state is None:
        return first_state(assignment, candidates, controller_epoch)
    if state.leader not in live:
        elected = elect_offline(assignment, state, candidates, controller_epoch, may_be_unclean=may_be_unclean)
        if elected is not None:
            return elected
    return without_dead(state, live, controller_epoch)
