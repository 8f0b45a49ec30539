"""Another broker is built once, and where it cannot be, the reason is told before anything is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.peers import NotBuilt, build

GO = """#!/bin/sh
echo "$@" >>"${0%/*}/asked"
while [ "$1" != -o ]; do shift; done
echo built >"$2"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for, with none named go."""
    found = tmp_path / "bin"
    found.mkdir()
    monkeypatch.setenv("PATH", str(found))
    return found


def go(path: Path, script: str) -> None:
    (path / "go").write_text(script)
    (path / "go").chmod(0o755)


def test_what_was_built_is_not_built_again(path: Path, tmp_path: Path) -> None:
    go(path, GO)
    program = build(tmp_path / "cache")
    assert program.read_text() == "built\n"
    assert build(tmp_path / "cache") == program
    assert len((path / "asked").read_text().splitlines()) == 1


def test_what_the_compiler_says_is_told(path: Path, tmp_path: Path) -> None:
    go(path, "#!/bin/sh\necho 'no such module' >&2\nexit 1\n")
    with pytest.raises(NotBuilt, match="could not build kfake:\nno such module"):
        build(tmp_path / "cache")


def test_without_a_compiler_nothing_is_measured(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotBuilt, match="there is none"):
        build(tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["bench", "--peers", "--rounds", "0"])
    monkeypatch.setattr("bench.peers.build", lambda: build(tmp_path / "cache"))
    with pytest.raises(SystemExit):
        main()
    assert "kfake is built by Go" in capsys.readouterr().err
