"""What is written into the offsets topic, byte for byte."""

from __future__ import annotations

import pytest

from pykafka_broker.group.records import CommittedOffset, GroupRecord, OffsetRecord, decode, fit
from pykafka_broker.model.errors import WireError
from pykafka_broker.model.names import GroupId, LeaderEpoch, MemberId, Offset, TopicPartition
from pykafka_broker.wire import messages

G, T3 = GroupId("g"), TopicPartition("t", 3)
KEY = b"\0\x01\0\x01g\0\x01t\0\0\0\x03"


def test_an_offset_is_written_in_version_3() -> None:
    record = OffsetRecord(G, T3, CommittedOffset(Offset(7), LeaderEpoch(2), "m", 9))
    value = b"\0\x03" + (7).to_bytes(8, "big") + b"\0\0\0\x02" + b"\0\x01m" + (9).to_bytes(8, "big")
    assert record.encode() == (KEY, value)
    assert decode(KEY, value) == record


def test_an_offset_with_a_retention_of_its_own_is_written_in_version_1() -> None:
    record = OffsetRecord(G, T3, CommittedOffset(Offset(7), LeaderEpoch(2), "m", 9, 11))
    value = b"\0\x01" + (7).to_bytes(8, "big") + b"\0\x01m" + (9).to_bytes(8, "big") + (11).to_bytes(8, "big")
    assert record.encode() == (KEY, value)
    assert decode(KEY, value) == OffsetRecord(G, T3, CommittedOffset(Offset(7), LeaderEpoch(-1), "m", 9, 11))


def test_older_offsets_can_be_read() -> None:
    value = b"\0\0" + (7).to_bytes(8, "big") + b"\0\x01m" + (9).to_bytes(8, "big")
    assert decode(b"\0\0" + KEY[2:], value) == OffsetRecord(G, T3, CommittedOffset(Offset(7), LeaderEpoch(-1), "m", 9))


def test_a_null_value_forgets() -> None:
    assert OffsetRecord(G, T3, None).encode() == (KEY, None)
    assert decode(KEY, None) == OffsetRecord(G, T3, None)
    assert GroupRecord(G, None).encode() == (b"\0\x02\0\x01g", None)
    assert decode(b"\0\x02\0\x01g", None) == GroupRecord(G, None)


def group() -> messages.GroupMetadataValue:
    return messages.GroupMetadataValue(
        protocol_type="consumer",
        generation=4,
        protocol="range",
        leader="m",
        current_state_timestamp=5,
        members=[
            messages.GroupMetadataValue.MemberMetadata(
                member_id=MemberId("m"),
                group_instance_id="i",
                client_id="c",
                client_host="/h",
                rebalance_timeout=60,
                session_timeout=10,
                subscription=b"s",
                assignment=b"a",
            )
        ],
    )


def test_a_group_is_written_in_version_3_and_comes_back() -> None:
    record = GroupRecord(G, group())
    key, value = record.encode()
    assert value is not None
    assert (key, value[:2]) == (b"\0\x02\0\x01g", b"\0\x03")
    assert decode(key, value) == record


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_groups_of_every_version_can_be_read(version: int) -> None:
    found = decode(b"\0\x02\0\x01g", version.to_bytes(2, "big") + messages.encode(group(), version))
    assert isinstance(found, GroupRecord)
    assert found.value is not None
    (member,) = found.value.members
    assert (found.value.generation, member.member_id, member.subscription) == (4, "m", b"s")
    assert member.rebalance_timeout == (10 if version == 0 else 60)


def test_what_other_coordinators_write_is_passed_over() -> None:
    assert decode(b"\0\x03\0\x01g", b"\0\0") is None


def test_bytes_that_are_no_record_are_a_wire_error() -> None:
    with pytest.raises(WireError):
        decode(KEY[:5], None)


@pytest.mark.parametrize("name", ["g", "\u00e4" * 40, "\u4e16" * 40])
def test_the_size_that_is_reckoned_with_is_an_upper_bound(name: str) -> None:
    offset = OffsetRecord(GroupId(name), TopicPartition(name, 1), CommittedOffset(Offset(1), metadata=name))
    whole = group()
    whole.members[0].client_id = name
    for record in (offset, GroupRecord(GroupId(name), whole)):
        key, value = record.encode()
        assert value is not None
        assert len(key) + len(value) < record.size_bytes


def test_whether_records_fit_is_told_by_what_they_really_take() -> None:
    records = [OffsetRecord(G, TopicPartition("t" * 100, index), CommittedOffset(Offset(1))) for index in range(10)]
    written = sum(len(key) + len(value or b"") for key, value in (record.encode() for record in records))
    assert sum(record.size_bytes for record in records) > written + 32 * 10
    assert fit(records, written + 32 * 10)
    assert not fit(records, written + 32 * 10 - 1)
