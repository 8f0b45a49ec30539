"""The house itself: every file has its test and says what it is for, and nothing is named after nothing."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1]
ROOMS = HOUSE / "src" / "pykafka_broker"
TESTS = HOUSE / "tests"

TESTED_ELSEWHERE = {
    "adoption.py": "tests/served/test_adoption.py",
    "api/desk.py": "tests/rooms/net/test_connection.py",
    "api/routes.py": "tests/rooms/net/test_connection.py",
    "api/versions.py": "tests/rooms/net/test_connection.py",
    "app.py": "tests/served/test_command_line.py",
    "config/checks.py": "tests/rooms/config/test_loading.py",
    "config/cluster.py": "tests/rooms/config/test_catalogue.py",
    "config/dynamic.py": "tests/rooms/config/test_overrides.py",
    "config/security.py": "tests/rooms/config/test_catalogue.py",
    "config/storage.py": "tests/rooms/config/test_catalogue.py",
    "config/synonyms.py": "tests/rooms/config/test_overrides.py",
    "config/transactions.py": "tests/rooms/config/test_catalogue.py",
    "config/zookeeper.py": "tests/rooms/config/test_catalogue.py",
    "health.py": "tests/served/test_command_line.py",
    "houses.py": "tests/served/test_command_line.py",
    "in_process.py": "tests/served/test_in_process.py",
    "__main__.py": "tests/served/test_command_line.py",
    "neighbours.py": "tests/served/test_neighbours.py",
    "net/listener.py": "tests/served/test_hostile_bytes.py",
    "zk/settle.py": "tests/rooms/zk/test_session.py",
}
"""Files that are tried where they meet others rather than alone."""

NAMES_OF_NOTHING = re.compile(r"(^|_)(utils?|helpers?|common|misc|base|managers?|processors?)($|_)")


def modules() -> list[Path]:
    return sorted(path for path in ROOMS.rglob("*.py") if path.name != "__init__.py")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=HOUSE, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a checkout")
    return [HOUSE / name for name in listed.stdout.splitlines()]


@pytest.mark.parametrize("module", modules(), ids=lambda path: str(path.relative_to(ROOMS)))
def test_every_file_has_its_test(module: Path) -> None:
    name = str(module.relative_to(ROOMS))
    expected = TESTS / "rooms" / module.relative_to(ROOMS).parent / f"test_{module.name}"
    if expected.exists():
        return
    dotted = "pykafka_broker." + name.removesuffix(".py").replace("/", ".")
    if name in TESTED_ELSEWHERE:
        assert (HOUSE / TESTED_ELSEWHERE[name]).exists()
        return
    room, _, stem = dotted.rpartition(".")
    spoken_of = [
        test
        for test in TESTS.rglob("*.py")
        if dotted in (text := test.read_text()) or (f"from {room} import" in text and stem in text)
    ]
    assert spoken_of, f"{name} has no test of its own, and no test speaks of it"


@pytest.mark.parametrize("module", modules(), ids=lambda path: str(path.relative_to(ROOMS)))
def test_every_file_says_what_it_is_for(module: Path) -> None:
    documented = ast.get_docstring(ast.parse(module.read_text()))
    assert documented, f"{module} does not say what it is for"


def may_park(call: ast.Call) -> bool:
    """Whether a call waits as a waiter does, or lets somebody else do so (``runtime/waiter.py``)."""
    named = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return named == "wait_as" or any(keyword.arg == "may_park" for keyword in call.keywords)


def within_scopes(node: ast.AST, scopes: tuple[ast.AST, ...] = ()) -> list[ast.AST]:
    """Calls that may park in the body of a scope or nursery that the same function holds open."""
    if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef | ast.Lambda):
        scopes = ()
    elif isinstance(node, ast.AsyncWith) or (
        isinstance(node, ast.With) and any("trio" in ast.unparse(item.context_expr) for item in node.items)
    ):
        scopes = (*scopes, node)
    found = [node] if scopes and isinstance(node, ast.Call) and may_park(node) else []
    return found + [one for child in ast.iter_child_nodes(node) for one in within_scopes(child, scopes)]


def test_whoever_may_be_parked_holds_no_scope_open() -> None:
    trees = {path: ast.parse(path.read_text()) for path in modules()}
    parking = [
        path for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.Call) and may_park(node)
    ]
    assert len(set(parking)) > 5, "this looks for nothing"
    assert not {path: found for path, tree in trees.items() if (found := within_scopes(tree))}
    held = "async def f():\n  with trio.move_on_after(1):\n    await changes.wait_as(waiter, keys)"
    assert len(within_scopes(ast.parse(held))) == 1


def test_nothing_is_named_after_nothing() -> None:
    named = [path for path in modules() if NAMES_OF_NOTHING.search(path.stem)]
    assert named == []


def test_no_file_is_one_that_everybody_must_edit() -> None:
    longest = {str(path.relative_to(ROOMS)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in longest.items() if lines > 750} == {}


def test_decisions_are_numbered_once_each() -> None:
    numbers = [path.name[:4] for path in sorted((HOUSE / "docs" / "decisions").glob("*.md"))]
    assert numbers == sorted(set(numbers))


def test_every_exclusion_has_its_reason() -> None:
    for allowed in (HOUSE / "compat").glob("*/tests.allow"):
        assert allowed.with_name("FINDINGS.md").exists()


def test_nothing_is_committed_that_was_fetched_or_built() -> None:
    strange = [path for path in tracked() if path.suffix in {".jar", ".class", ".whl", ".tgz", ".gz", ".zip", ".pyc"}]
    assert strange == []
