"""Where the broker listens, where clients are told to connect, and which listener other brokers use.

Takes the texts of ``NetworkSettings`` apart and checks them against each other in Kafka's words; opening sockets, and
finding out what an empty host or port 0 came to, is ``net``'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from pykafka_broker.config.network import NetworkSettings

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
"""Each at the place of its number (``SecurityProtocol``)."""


class ListenerError(ValueError):
    """Listeners that cannot be; ``key`` is the setting to look at."""

    def __init__(self, key: str, why: str, *, is_requirement: bool = True) -> None:
        super().__init__(why)
        self.key = key
        self.is_requirement = is_requirement
        """Whether Kafka puts ``requirement failed:`` before it."""


def _unreadable(key: str, why: str) -> ListenerError:
    return ListenerError(key, why, is_requirement=False)


class Listener(Struct, frozen=True):
    """One address; ``host`` is empty for all interfaces, ``port`` 0 for any free one."""

    name: str
    protocol: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name}://{host}:{self.port}"


class Listeners(Struct, frozen=True):
    """All of a broker's listeners; ``advertised`` is ``None`` where they are the ones it listens on."""

    listening: tuple[Listener, ...]
    advertised: tuple[Listener, ...] | None
    inter_broker: str
    control_plane: str | None


def read_listeners(settings: NetworkSettings) -> Listeners:
    """The listeners that the settings tell; ``ListenerError`` says what is wrong with them."""
    protocols = read_protocols(settings.listener_security_protocol_map)
    listening = _read(settings.listeners, "listeners", protocols)
    _require_different_ports(listening, settings.listeners)
    advertised = None
    if settings.advertised_listeners is not None:
        advertised = _read(settings.advertised_listeners, "advertised.listeners", protocols)
    told = listening if advertised is None else advertised
    if not told:
        key = "listeners" if advertised is None else "advertised.listeners"
        raise ListenerError(key, "There must be at least one broker advertised listener.")
    names = [listener.name for listener in told]
    valid = ",".join(sorted(set(names)))
    inter_broker = _inter_broker(settings, protocols)
    if inter_broker not in names:
        raise ListenerError(
            "inter.broker.listener.name",
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. "
            f"The valid options based on currently configured listeners are {valid}",
        )
    unknown = set(names) - {listener.name for listener in listening}
    if unknown:
        raise ListenerError(
            "advertised.listeners",
            "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. "
            f"Found {valid}. The valid options based on the current configuration are "
            f"{','.join(sorted(listener.name for listener in listening))}",
        )
    if any(listener.host == "0.0.0.0" for listener in told):
        raise ListenerError(
            "advertised.listeners",
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
        )
    return Listeners(listening, advertised, inter_broker, _control_plane(settings, protocols, names, inter_broker))


def read_protocols(text: str) -> dict[str, str]:
    """``listener.security.protocol.map``: the security protocol of each listener name."""
    key = "listener.security.protocol.map"
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, colon, protocol = pair.rpartition(":")
        if not colon:
            raise _unreadable(key, f"{pair} is not of the form LISTENER:PROTOCOL")
        if protocol.strip().upper() not in PROTOCOLS:
            raise _unreadable(key, f"Invalid security protocol `{protocol.strip()}` defined in {key}")
        found[name.strip().upper()] = protocol.strip().upper()
    return found


def _inter_broker(settings: NetworkSettings, protocols: dict[str, str]) -> str:
    named = settings.inter_broker_listener_name
    if named is None:
        return settings.security_inter_broker_protocol
    name = named.strip().upper()
    if name not in protocols:
        raise _unreadable(
            "inter.broker.listener.name",
            f"Listener with name {name} defined in inter.broker.listener.name not found in "
            "listener.security.protocol.map.",
        )
    return name


def _control_plane(
    settings: NetworkSettings, protocols: dict[str, str], names: Sequence[str], inter_broker: str
) -> str | None:
    key = "control.plane.listener.name"
    if settings.control_plane_listener_name is None:
        return None
    name = settings.control_plane_listener_name.strip().upper()
    if name not in protocols:
        raise _unreadable(key, f"Listener with {name} defined in {key} not found in listener.security.protocol.map.")
    if name not in names:
        raise ListenerError(
            key,
            f"{key} must be a listener name defined in advertised.listeners. The valid options based on currently "
            f"configured listeners are {','.join(sorted(names))}",
        )
    if name == inter_broker:
        raise ListenerError(
            key,
            f"{key}, when defined, should have a different value from the inter broker listener name. "
            f"Currently they both have the value ListenerName({name})",
        )
    return name


def _read(text: str, key: str, protocols: dict[str, str]) -> tuple[Listener, ...]:
    found = tuple(_one(part, text, key, protocols) for part in (piece.strip() for piece in text.split(",")) if part)
    if len({listener.name for listener in found}) < len(found):
        raise ListenerError(key, f"Each listener must have a different name, {key}: {text}")
    return found


def _one(part: str, whole: str, key: str, protocols: dict[str, str]) -> Listener:
    name, separator, address = part.partition("://")
    host, colon, digits = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = digits.removeprefix("-")
    if not (separator and colon and number.isascii() and number.isdigit()) or not _is_host(bare):
        raise _unreadable(
            key, f"Error creating broker listeners from '{whole}': Unable to parse {part} to a broker endpoint"
        )
    name = name.upper()
    if name not in protocols:
        raise _unreadable(
            key, f"Error creating broker listeners from '{whole}': No security protocol defined for listener {name}"
        )
    port = int(digits)
    if not 0 <= port <= 65_535:
        raise _unreadable(key, f"Port {port} of {part} is not between 0 and 65535")
    return Listener(name, protocols[name], bare, port)


def _is_host(text: str) -> bool:
    return all((character.isalnum() and character.isascii()) or character in "-%._:" for character in text)


def _require_different_ports(listening: Sequence[Listener], text: str) -> None:
    by_port: dict[int, list[Listener]] = {}
    for listener in listening:
        if listener.port:
            by_port.setdefault(listener.port, []).append(listener)
    for same in by_port.values():
        if len(same) == 2 and sorted(":" in listener.host for listener in same) == [False, True]:
            continue  # one IPv4 and one IPv6 address may share a port (KIP-797)
        if len(same) > 1:
            raise ListenerError("listeners", f"Each listener must have a different port, listeners: {text}")
