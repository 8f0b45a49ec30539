"""CRC-32C: the same whether the extension is taken alone or with its package, and the one that is standardized."""

from __future__ import annotations

import subprocess
import sys

import crc32c as package
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.wire import checksum


def test_it_is_the_one_of_rfc_3720() -> None:
    assert checksum.crc32c(b"123456789") == 0xE3069283
    assert checksum.crc32c(bytes(32)) == 0x8A9136AA
    assert checksum.crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_it_goes_on_from_what_came_before(first: bytes, second: bytes) -> None:
    assert checksum.crc32c(memoryview(second), checksum.crc32c(first)) == package.crc32c(first + second)


def test_the_package_serves_where_the_extension_is_not_found() -> None:
    assert checksum._of_package()(b"123456789") == 0xE3069283


def test_a_broker_does_without_the_package() -> None:
    asked = "import sys, pykafka_broker.app; print([name for name in sys.modules if name in ('crc32c', 'email')])"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
