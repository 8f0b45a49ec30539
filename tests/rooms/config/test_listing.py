"""What ``pykafka-broker config`` prints."""

from __future__ import annotations

from pykafka_broker.config.listing import lines
from pykafka_broker.config.loading import load


def found(text: str, key: str, *overrides: str) -> list[str]:
    return next(line.split() for line in lines(load(text, "s.properties", overrides)) if line.split()[0] == key)


def test_every_setting_has_a_line_with_its_value_and_its_source() -> None:
    text = "num.partitions= 3 \nzookeeper.connect=x:1\nbroker.rack=\n"
    assert found(text, "num.partitions") == ["num.partitions", "3", "s.properties:1"]
    assert found(text, "num.partitions", "num.partitions=4") == ["num.partitions", "4", "--override"]
    assert found(text, "broker.id") == ["broker.id", "-1", "default"]
    assert found(text, "log.retention.ms") == ["log.retention.ms", "null", "default"]
    assert found(text, "broker.rack") == ["broker.rack", "s.properties:3"]
    assert len(list(lines(load(text)))) == 314


def test_secrets_are_hidden_and_so_is_what_nobody_knows() -> None:
    text = "ssl.key.password=tiger\nmy.token=lion\n"
    assert found(text, "ssl.key.password") == ["ssl.key.password", "[hidden]", "s.properties:1"]
    assert found(text, "my.token") == ["my.token", "[hidden]", "s.properties:2"]


def test_columns_stand_under_each_other_in_order() -> None:
    shown = list(lines(load(None)))
    assert shown == sorted(shown)
    short = [line for line in shown if len(line) <= 130]
    assert len({line.rindex("  ") for line in short}) == 1
    assert len(short) > 300
