"""JAAS files as people write them are read as Java reads them."""

from __future__ import annotations

import pytest

from pykafka_broker.security.jaas import JaasError, LoginModule, read_jaas

BOTH = """
// who clients are
KafkaServer {
    org.apache.kafka.common.security.plain.PlainLoginModule required
        username="admin"
        password="a;b{c}=\\"d\\""
        user_admin='x';
    org.example.Other OPTIONAL debug=true;
};

/* who we are
   to ZooKeeper */
Client { org.apache.zookeeper.server.auth.DigestLoginModule required username=kafka password="s3cret"; };
"""


def test_entries_have_modules_and_modules_have_options() -> None:
    assert read_jaas(BOTH) == {
        "KafkaServer": (
            LoginModule(
                "org.apache.kafka.common.security.plain.PlainLoginModule",
                "required",
                {"username": "admin", "password": 'a;b{c}="d"', "user_admin": "x"},
            ),
            LoginModule("org.example.Other", "optional", {"debug": "true"}),
        ),
        "Client": (
            LoginModule(
                "org.apache.zookeeper.server.auth.DigestLoginModule",
                "required",
                {"username": "kafka", "password": "s3cret"},
            ),
        ),
    }


def test_nothing_is_no_entry() -> None:
    assert read_jaas("") == {}
    assert read_jaas("  // nothing\n/* at all */") == {}


def test_properties_stand_for_what_they_are_set_to() -> None:
    text = 'A { m required file="${user.home}${/}x"; };'
    (module,) = read_jaas(text, {"user.home": "/home/kafka"})["A"]
    assert module.options == {"file": "/home/kafka/x"}
    with pytest.raises(JaasError, match=r"line 1: the property user\.home is not set"):
        read_jaas(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Client", "line 1: expected {, found the end"),
        ("Client {\n x required a=b }", "line 2: expected an option, found }"),
        ("Client {\n x required a= ; };", "line 2: expected the value of a, found ;"),
        ("Client { x wanted; };", "line 1: wanted is none of required, requisite, sufficient and optional, found ;"),
        ("Client { x required; }\n", "line 1: expected ;, found the end"),
        ("A { };\nA { };", "line 2: there are two entries called A, found {"),
        ('A { x required a="\n"; };', "line 1: a quotation does not end"),
        ("{", "line 1: expected the name of an entry, found {"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, says: str) -> None:
    with pytest.raises(JaasError) as refusal:
        read_jaas(text)
    assert str(refusal.value) == says
