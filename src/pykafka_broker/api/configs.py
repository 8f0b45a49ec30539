"""DescribeConfigs, AlterConfigs and IncrementalAlterConfigs: settings of topics, brokers and loggers.

Every resource of a request is answered for itself. Topics and the settings of all brokers are anybody's business; what
is set for one broker, and its loggers, only that broker knows.

DescribeConfigs   0  the "is default" flag is never set, as in Kafka since it knows sources
                  1  synonyms and sources
                  3  type and documentation
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from pykafka_broker.api.routes import Route
from pykafka_broker.config.alterations import Alteration, Operation, altered, check_alterations
from pykafka_broker.config.kinds import InvalidValue
from pykafka_broker.config.layers import ShownConfig, Source
from pykafka_broker.config.overrides import wanted
from pykafka_broker.config.setting import Setting
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.control.topics import name_flaw
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId
from pykafka_broker.runtime.dynamic_configs import DynamicConfigs
from pykafka_broker.runtime.loggers import LEVELS, ROOT, Loggers
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call
from pykafka_broker.zk import nodes

TOPIC = 2
BROKER = 4
BROKER_LOGGER = 8
CLIENT_METRICS = 16
_NAMES = {TOPIC: "TOPIC", BROKER: "BROKER", BROKER_LOGGER: "BROKER_LOGGER", CLIENT_METRICS: "CLIENT_METRICS"}

Resource = tuple[int, str]


class Topics(Protocol):
    """What is needed of ``Metadata``."""

    def topic(self, name: str) -> object | None:
        """The topic, or ``None`` when there is none."""
        ...


class ConfigApi(Struct):
    """Shows and changes settings."""

    configs: DynamicConfigs
    topics: Topics
    me: BrokerId
    loggers: Loggers = field(default_factory=Loggers)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("DescribeConfigs", "0-4", self.describe, self._refuse_describe),
            Route("AlterConfigs", "0-2", self.alter, self._refuse_alter),
            Route("IncrementalAlterConfigs", "0-1", self.alter_incrementally, self._refuse_incremental),
        )

    # DescribeConfigs

    async def describe(self, call: Call[Any]) -> messages.DescribeConfigsResponse:
        """What is set, what holds, and where it comes from."""
        response = messages.DescribeConfigsResponse
        results = []
        for resource in call.body.resources:
            result = response.Result(resource_type=resource.resource_type, resource_name=resource.resource_name)
            results.append(result)
            try:
                shown = await self._shown(resource.resource_type, resource.resource_name)
            except KafkaError as error:
                result.error_code = error.code
                result.error_message = error.detail or ""
                continue
            result.configs = [_told(config, call) for config in wanted(shown, resource.configuration_keys)]
        return response(results=results)

    async def _shown(self, kind: int, name: str) -> Iterable[ShownConfig]:
        if kind == TOPIC:
            flaw = name_flaw(name)
            if flaw is not None:
                raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {flaw}")
            if self.topics.topic(name) is None:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            return self.configs.overrides.shown_topic(await self.configs.entries(nodes.TOPIC_CONFIG, name))
        if kind == BROKER:
            if not name:
                return self.configs.overrides.shown_default()
            if _broker_id(name, "Broker id") != self.me:
                says = f"Unexpected broker id, expected {self.me} or empty string, but received {name}"
                raise KafkaError(ErrorCode.INVALID_REQUEST, says)
            return self.configs.overrides.shown_broker()
        if kind == BROKER_LOGGER:
            if not name:
                raise KafkaError(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
            if _broker_id(name, "Broker id") != self.me:
                says = f"Unexpected broker id, expected {self.me} but received {name}"
                raise KafkaError(ErrorCode.INVALID_REQUEST, says)
            return [
                ShownConfig(logger, level, False, Source.BROKER_LOGGER, False)
                for logger, level in self.loggers.levels().items()
            ]
        if kind == CLIENT_METRICS:
            says = "Config type client-metrics is only supported on KRaft clusters"
            raise KafkaError(
                ErrorCode.INVALID_REQUEST, says if name else "Client metrics subscription name must not be empty"
            )
        raise KafkaError(ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST.sentence)

    # Altering

    async def alter(self, call: Call[Any]) -> messages.AlterConfigsResponse:
        """Replace all settings of each resource."""
        response = messages.AlterConfigsResponse

        def replaced(_: Mapping[str, str], given: Sequence[Alteration], __: Mapping[str, Setting]) -> dict[str, str]:
            return {one.key: one.value for one in given if one.value is not None}

        outcomes = await self._alter_all(call.body, replaced, is_incremental=False)
        return response(
            responses=[
                response.ResourceResponse(
                    error_code=code, error_message=text, resource_type=resource[0], resource_name=resource[1]
                )
                for resource, (code, text) in outcomes
            ]
        )

    async def alter_incrementally(self, call: Call[Any]) -> messages.IncrementalAlterConfigsResponse:
        """Set, delete, append to or subtract from single settings of each resource."""
        response = messages.IncrementalAlterConfigsResponse
        outcomes = await self._alter_all(call.body, altered, is_incremental=True)
        return response(
            responses=[
                response.AlterConfigsResourceResponse(
                    error_code=code, error_message=text, resource_type=resource[0], resource_name=resource[1]
                )
                for resource, (code, text) in outcomes
            ]
        )

    async def _alter_all(
        self, body: Any, change: _Change, *, is_incremental: bool
    ) -> list[tuple[Resource, tuple[int, str | None]]]:
        times = Counter((resource.resource_type, resource.resource_name) for resource in body.resources)
        outcomes = []
        for resource in body.resources:
            named = (resource.resource_type, resource.resource_name)
            given = [
                Alteration(config.name, config.config_operation if is_incremental else Operation.SET, config.value)
                for config in resource.configs
            ]
            try:
                if times[named] > 1:
                    raise KafkaError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
                check_alterations(given)
                await self._alter_one(named, given, change, is_incremental, validate_only=body.validate_only)
                outcome: tuple[int, str | None] = (ErrorCode.NONE, None)
            except KafkaError as error:
                outcome = (error.code, error.detail)
            outcomes.append((named, outcome))
        return outcomes

    async def _alter_one(
        self,
        named: Resource,
        given: Sequence[Alteration],
        change: _Change,
        is_incremental: bool,
        *,
        validate_only: bool,
    ) -> None:
        kind, name = named
        if kind == TOPIC:
            await self._alter_topic(name, given, change, validate_only=validate_only)
        elif kind == BROKER:
            await self._alter_broker(name, given, change, validate_only=validate_only)
        elif kind == BROKER_LOGGER and is_incremental:
            self._alter_loggers(name, given, validate_only=validate_only)
        elif kind == CLIENT_METRICS:
            says = f"AlterConfigs is only supported for topics and brokers, but resource type is {_NAMES[kind]}"
            raise KafkaError(ErrorCode.INVALID_REQUEST, says)
        else:
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {kind}")

    async def _alter_topic(
        self, name: str, given: Sequence[Alteration], change: _Change, *, validate_only: bool
    ) -> None:
        if not name:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
        before = await self.configs.entries(nodes.TOPIC_CONFIG, name) if name_flaw(name) is None else {}
        after = change(before, given, TopicSettings.SETTINGS)
        if self.topics.topic(name) is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        try:
            self.configs.overrides.check_topic(after)
        except InvalidValue as error:
            raise _wrapped(TOPIC, name, str(error)) from error
        if not validate_only:
            await self.configs.write(nodes.TOPIC_CONFIG, name, after)

    async def _alter_broker(
        self, name: str, given: Sequence[Alteration], change: _Change, *, validate_only: bool
    ) -> None:
        from pykafka_broker.config.catalogue import ALL
        from pykafka_broker.config.dynamic import definition_of

        if name and _broker_id(name, "Node id") != self.me:
            says = f"Unexpected broker id, expected {self.me}, but received {name}"
            raise KafkaError(ErrorCode.INVALID_REQUEST, says)
        entity = str(self.me) if name else nodes.DEFAULT_ENTITY
        after = change(await self.configs.entries(nodes.BROKER_CONFIG, entity), given, ALL)
        self.configs.overrides.check_broker(after, per_broker=bool(name))
        for key in after:
            definition = definition_of(key)
            if definition is not None and definition.sensitive:
                # Kafka stores it enciphered with password.encoder.secret, which this broker cannot do yet.
                raise _wrapped(BROKER, name, "Password encoder secret not configured")
        if not validate_only:
            await self.configs.write(nodes.BROKER_CONFIG, entity, after)

    def _alter_loggers(self, name: str, given: Sequence[Alteration], *, validate_only: bool) -> None:
        if _broker_id(name, "Node id") != self.me:
            # Kafka names its own id twice here.
            raise KafkaError(
                ErrorCode.INVALID_REQUEST, f"Unexpected node id. Expected {self.me}, but received {self.me}"
            )
        for logger, operation, level in given:
            self._check_logger(logger, operation, level)
        if validate_only:
            return
        for logger, operation, level in given:
            if operation == Operation.SET and level is not None:
                self.loggers.set(logger, level)
            else:
                self.loggers.unset(logger)

    def _check_logger(self, logger: str, operation: int, level: str | None) -> None:
        if operation in (Operation.APPEND, Operation.SUBTRACT):
            verb = Operation(operation).name
            raise KafkaError(
                ErrorCode.INVALID_REQUEST, f"{verb} operation is not allowed for the BROKER_LOGGER resource"
            )
        if operation not in (Operation.SET, Operation.DELETE):
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
        if logger not in self.loggers:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"Logger {logger} does not exist!")
        if operation == Operation.SET and level not in LEVELS:
            raise KafkaError(
                ErrorCode.INVALID_CONFIG,
                f"Cannot set the log level of {logger} to {level} as it is not a supported log level. "
                f"Valid log levels are {', '.join(sorted(LEVELS))}",
            )
        if operation == Operation.DELETE and logger == ROOT:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Removing the log level of the root logger is not allowed")

    # Refusing

    @staticmethod
    def _refuse_describe(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DescribeConfigsResponse:
        response = messages.DescribeConfigsResponse
        return response(
            results=[
                response.Result(
                    error_code=code,
                    error_message=detail or code.sentence,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
                for resource in call.body.resources
            ]
        )

    @staticmethod
    def _refuse_alter(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.AlterConfigsResponse:
        response = messages.AlterConfigsResponse
        return response(
            responses=[
                response.ResourceResponse(
                    error_code=code,
                    error_message=detail or code.sentence,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
                for resource in call.body.resources
            ]
        )

    @staticmethod
    def _refuse_incremental(
        call: Call[Any], code: ErrorCode, detail: str | None
    ) -> messages.IncrementalAlterConfigsResponse:
        response = messages.IncrementalAlterConfigsResponse
        return response(
            responses=[
                response.AlterConfigsResourceResponse(
                    error_code=code,
                    error_message=detail or code.sentence,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
                for resource in call.body.resources
            ]
        )


_Change = Callable[[Mapping[str, str], Sequence[Alteration], Mapping[str, Setting]], dict[str, str]]
"""Gives all settings of a resource after a request, from those before it."""


def _told(config: ShownConfig, call: Call[Any]) -> messages.DescribeConfigsResponse.ResourceResult:
    response = messages.DescribeConfigsResponse
    return response.ResourceResult(
        name=config.name,
        value=config.value,
        read_only=config.is_read_only,
        config_source=config.source,
        is_sensitive=config.is_sensitive,
        synonyms=[
            response.Synonym(name=synonym.name, value=synonym.value, source=synonym.source)
            for synonym in config.synonyms
        ]
        if call.body.include_synonyms
        else [],
        config_type=config.kind,
        documentation=config.says if call.body.include_documentation else None,
    )


def _broker_id(name: str, called: str) -> int:
    digits = name[1:] if name[:1] in ("+", "-") else name
    if not (digits.isascii() and digits.isdigit() and -(2**31) <= int(name) < 2**31):
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"{called} must be an integer, but it is: {name}")
    return int(name)


def _wrapped(kind: int, name: str, says: str) -> KafkaError:
    return KafkaError(
        ErrorCode.INVALID_CONFIG,
        f"Invalid config value for resource ConfigResource(type={_NAMES[kind]}, name='{name}'): {says}",
    )
