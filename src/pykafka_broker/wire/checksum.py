"""CRC-32C, taken from the extension module itself.

The package around it asks for its own version when it is imported, and so for the metadata of what is installed, for
zip archives and a parser of mail: 14 ms of every start. Where the extension is not found, the package is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

_PACKAGE = "crc32c"


def _of_extension() -> Callable[..., int] | None:
    package = PathFinder.find_spec(_PACKAGE)
    places = package.submodule_search_locations if package is not None else None
    found = PathFinder.find_spec("_crc32c", places) if places else None
    if found is None or found.loader is None:
        return None
    module: Any = module_from_spec(found)
    found.loader.exec_module(module)
    function: Callable[..., int] = module.crc32c
    return function


def _of_package() -> Callable[..., int]:
    import crc32c as package

    function: Callable[..., int] = package.crc32c
    return function


crc32c = _of_extension() or _of_package()
"""The checksum of bytes, or of what has that checksum so far (second argument) and these bytes behind it."""
