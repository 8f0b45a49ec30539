"""Listeners taken apart and checked against each other."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.config.listeners import Listener, ListenerError, read_listeners, read_protocols
from pykafka_broker.config.network import NetworkSettings


def settings(**values: Any) -> NetworkSettings:
    return NetworkSettings(**values)


def test_a_listener_has_a_name_a_protocol_a_host_and_a_port() -> None:
    found = read_listeners(settings(listeners="PLAINTEXT://127.0.0.1:0, SSL://[::1]:9093"))
    assert found.listening == (
        Listener("PLAINTEXT", "PLAINTEXT", "127.0.0.1", 0),
        Listener("SSL", "SSL", "::1", 9093),
    )
    assert [str(listener) for listener in found.listening] == ["PLAINTEXT://127.0.0.1:0", "SSL://[::1]:9093"]
    assert found.advertised is None
    assert found.inter_broker == "PLAINTEXT"


def test_an_empty_host_is_every_interface_and_names_are_upper_case() -> None:
    found = read_listeners(
        settings(
            listeners="inside://:9092,outside://:9093",
            listener_security_protocol_map="inside:plaintext,OUTSIDE:SASL_SSL",
            inter_broker_listener_name="inside",
            advertised_listeners="INSIDE://broker:9092",
        )
    )
    assert [(one.name, one.protocol, one.host) for one in found.listening] == [
        ("INSIDE", "PLAINTEXT", ""),
        ("OUTSIDE", "SASL_SSL", ""),
    ]
    assert found.advertised == (Listener("INSIDE", "PLAINTEXT", "broker", 9092),)
    assert found.inter_broker == "INSIDE"


def test_free_ports_may_be_asked_for_more_than_once() -> None:
    assert len(read_listeners(settings(listeners="PLAINTEXT://a:0,SSL://b:0")).listening) == 2


def test_an_ipv4_and_an_ipv6_address_may_share_a_port() -> None:
    assert len(read_listeners(settings(listeners="PLAINTEXT://127.0.0.1:1,SSL://[::1]:1")).listening) == 2


@pytest.mark.parametrize(
    ("values", "key", "says"),
    [
        (
            {"listeners": "foo"},
            "listeners",
            "Error creating broker listeners from 'foo': Unable to parse foo to a broker endpoint",
        ),
        (
            {"listeners": "FOO://a:1"},
            "listeners",
            "Error creating broker listeners from 'FOO://a:1': No security protocol defined for listener FOO",
        ),
        (
            {"listeners": "PLAINTEXT://a:1,PLAINTEXT://b:2"},
            "listeners",
            "Each listener must have a different name, listeners: PLAINTEXT://a:1,PLAINTEXT://b:2",
        ),
        (
            {"listeners": "PLAINTEXT://a:1,SSL://b:1"},
            "listeners",
            "Each listener must have a different port, listeners: PLAINTEXT://a:1,SSL://b:1",
        ),
        ({"listeners": ""}, "listeners", "There must be at least one broker advertised listener."),
        (
            {"listeners": "PLAINTEXT://:99999"},
            "listeners",
            "Port 99999 of PLAINTEXT://:99999 is not between 0 and 65535",
        ),
        (
            {"listeners": "PLAINTEXT://0.0.0.0:9092"},
            "advertised.listeners",
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
        ),
        (
            {"advertised_listeners": "PLAINTEXT://0.0.0.0:9092"},
            "advertised.listeners",
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
        ),
        (
            {"advertised_listeners": "PLAINTEXT://a:1,SSL://b:2", "listeners": "PLAINTEXT://a:1"},
            "advertised.listeners",
            "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. "
            "Found PLAINTEXT,SSL. The valid options based on the current configuration are PLAINTEXT",
        ),
        (
            {"listeners": "SSL://a:9092"},
            "inter.broker.listener.name",
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. "
            "The valid options based on currently configured listeners are SSL",
        ),
        (
            {"inter_broker_listener_name": "FOO"},
            "inter.broker.listener.name",
            "Listener with name FOO defined in inter.broker.listener.name not found in listener.security.protocol.map.",
        ),
        (
            {"control_plane_listener_name": "FOO"},
            "control.plane.listener.name",
            "Listener with FOO defined in control.plane.listener.name not found in listener.security.protocol.map.",
        ),
        (
            {"control_plane_listener_name": "PLAINTEXT"},
            "control.plane.listener.name",
            "control.plane.listener.name, when defined, should have a different value from the inter broker listener "
            "name. Currently they both have the value ListenerName(PLAINTEXT)",
        ),
    ],
)
def test_listeners_that_cannot_be_are_refused_in_kafkas_words(values: dict[str, str], key: str, says: str) -> None:
    with pytest.raises(ListenerError) as caught:
        read_listeners(settings(**values))
    assert (caught.value.key, str(caught.value)) == (key, says)


def test_a_control_plane_listener_stands_beside_the_others() -> None:
    found = read_listeners(settings(listeners="PLAINTEXT://:1,SSL://:2", control_plane_listener_name="ssl"))
    assert found.control_plane == "SSL"


def test_protocols_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ListenerError, match="Invalid security protocol `FOO`"):
        read_protocols("A:FOO")
    with pytest.raises(ListenerError, match="not of the form"):
        read_protocols("A")
