"""The stubs say what the specs say."""

from __future__ import annotations

from pykafka_broker.wire import stubs


def test_the_stubs_are_fresh() -> None:
    assert stubs.TARGET.read_text(encoding="utf-8") == stubs.text(), "run: make stubs"


def test_a_field_has_its_domain_type_and_says_whether_it_may_be_null() -> None:
    text = stubs.text()
    assert "    group_id: GroupId = ...\n" in text
    assert "    group_instance_id: str | None = ...\n" in text
    assert "    topics: list[MetadataRequest.Topic] | None = ...\n" in text
    assert "        isr_nodes: list[BrokerId] = ...\n" in text
    assert "        records: Records | None = ...\n" in text
