"""The follower's side of a fetch session (KIP-227): what the leader has been told to send, and what has changed since.

After ``FetchSessionHandler``. Which partitions are wanted is decided in ``log/follower.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pykafka_broker.model.names import NO_TOPIC_ID, TopicId, TopicPartition
from pykafka_broker.wire import messages

_LARGEST_EPOCH = 2**31 - 1


class Wish(NamedTuple):
    """What is asked of one partition."""

    topic_id: TopicId
    fetch_offset: int
    log_start_offset: int
    leader_epoch: int
    last_fetched_epoch: int


class FetchSession:
    """One session after the other with one leader; ``epoch`` 0 asks for a new one."""

    def __init__(self) -> None:
        self.session_id = 0
        self.epoch = 0
        self.told: dict[TopicPartition, Wish] = {}
        """What the leader knows, or will with the request under way."""
        self._names: dict[TopicId, str] = {}
        self._nameless: set[TopicPartition] = set()

    def restart(self) -> None:
        """The leader has forgotten the session, or we cannot know what it has heard."""
        self.session_id, self.epoch = 0, 0
        self.told, self._names, self._nameless = {}, {}, set()

    def name(self, topic_id: TopicId) -> str | None:
        """The topic of that id, if the session has ever asked for it."""
        return self._names.get(topic_id)

    @property
    def is_full(self) -> bool:
        """Whether the next request has to name every partition."""
        return self.epoch == 0

    def request(
        self, wishes: Mapping[TopicPartition, Wish], forgotten: Iterable[TopicPartition], max_bytes: int
    ) -> tuple[list[messages.FetchRequest.Topic], list[messages.FetchRequest.ForgottenTopic]]:
        """The topics of the next request: these wishes, and those that are none any more."""
        request = messages.FetchRequest
        gone: dict[TopicId | str, messages.FetchRequest.ForgottenTopic] = {}
        # To the leader, a topic that was made anew is another one than that of which it has been told.
        made_anew = [
            one for one, wish in wishes.items() if one in self.told and self.told[one].topic_id != wish.topic_id
        ]
        for partition in (*forgotten, *made_anew):
            wish = self.told.pop(partition, None)
            self._nameless.discard(partition)
            if wish is None or self.is_full:
                continue
            name = _name(partition, wish)
            lost = gone.get(name)
            if lost is None:
                lost = gone[name] = request.ForgottenTopic(topic=partition.topic, topic_id=wish.topic_id)
            lost.partitions.append(partition.partition)
        topics: dict[TopicId | str, messages.FetchRequest.Topic] = {}
        for partition, wish in wishes.items():
            if not self.is_full and self.told.get(partition) == wish:
                continue
            self.told[partition] = wish
            if wish.topic_id == NO_TOPIC_ID:
                self._nameless.add(partition)
            else:
                self._nameless.discard(partition)
                self._names[wish.topic_id] = partition.topic
            name = _name(partition, wish)
            topic = topics.get(name)
            if topic is None:
                topic = topics[name] = request.Topic(topic=partition.topic, topic_id=wish.topic_id)
            topic.partitions.append(
                request.Partition(
                    partition=partition.partition,
                    current_leader_epoch=wish.leader_epoch,  # type: ignore[arg-type]
                    fetch_offset=wish.fetch_offset,  # type: ignore[arg-type]
                    last_fetched_epoch=wish.last_fetched_epoch,
                    log_start_offset=wish.log_start_offset,  # type: ignore[arg-type]
                    partition_max_bytes=max_bytes,
                )
            )
        return list(topics.values()), list(gone.values())

    @property
    def has_ids(self) -> bool:
        """Whether every topic of the session has an id, so that topics need not be named."""
        return not self._nameless

    def answered(self, session_id: int) -> None:
        """The leader has answered; id 0 means that it keeps no session for us, so that everything is asked anew."""
        if session_id == 0:
            self.session_id, self.epoch = 0, 0
            return
        self.session_id = session_id
        self.epoch = 1 if self.epoch == _LARGEST_EPOCH else self.epoch + 1


def _name(partition: TopicPartition, wish: Wish) -> TopicId | str:
    """What tells the leader which topic is meant."""
    return partition.topic if wish.topic_id == NO_TOPIC_ID else wish.topic_id
