"""The journal of the embedded tree: whatever is cut off or flipped, it opens to what was promised or says so."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.zk.journal import FILE, FRESH, MAGIC, DamagedJournal, Journal, JournalInUse
from pykafka_broker.zk.port import Change, Create, Delete, Node, Replace
from pykafka_broker.zk.tree import Tree
from tests.doubles.full_disk import files_of_at_most

Picture = dict[str, tuple[Node, tuple[str, ...]]]

STORY: list[tuple[Change, ...]] = [
    (Create("/a"),),
    (Create("/a/b", b""), Create("/a/c", b"\x00\xff" * 20)),
    (Replace("/a", b"one"), Replace("/a", b"two")),
    (Create("/a/e", b"me", ephemeral=True),),
    (Create("/a/s_", sequential=True), Create("/a/größe", "naïve".encode())),
    (Delete("/a/b"), Replace("/a/c", None)),
    (Replace("/", b"root"),),
    (Delete("/a/c"), Create("/a/c", b"again")),
]


def picture(tree: Tree) -> Picture:
    """Everything there is to know about a tree."""
    return {path: (tree.read(path), tree.children(path)) for path, _ in tree.entries()} | {
        "zxid": (Node(b"%d" % tree.zxid, tree.read("/").stat), ())
    }


def written(folder: Path, *, synced: bool) -> tuple[bytes, list[tuple[int, Picture]]]:
    """The bytes of a journal that tells the story, and how far it reached with which tree."""
    journal, tree = Journal.open(folder)
    stages = [(journal.size_bytes, picture(tree))]
    for changes in STORY:
        journal.append(tree.change(changes, 5, 1_000 + len(stages)))
        if synced:
            journal.sync()
        stages.append((journal.size_bytes, picture(tree)))
    journal.close()
    return (folder / FILE).read_bytes(), stages


def reopened(folder: Path, content: bytes | None = None) -> Picture:
    """What a journal with this content opens to."""
    if content is not None:
        folder.mkdir(exist_ok=True)
        (folder / FILE).write_bytes(content)
    journal, tree = Journal.open(folder)
    try:
        return picture(tree)
    finally:
        journal.close()


def test_a_journal_opens_to_the_tree_that_was_written(tmp_path: Path) -> None:
    content, stages = written(tmp_path, synced=False)
    assert reopened(tmp_path) == stages[-1][1]
    assert (tmp_path / FILE).read_bytes() == content


def test_the_next_sequence_number_survives(tmp_path: Path) -> None:
    written(tmp_path, synced=False)
    journal, tree = Journal.open(tmp_path)
    assert tree.change([Create("/a/s_", sequential=True)], 5, 1).done == ("/a/s_0000000006",)
    journal.close()


@pytest.mark.slow
@pytest.mark.parametrize("synced", [False, True])
def test_cut_at_any_byte_it_opens_to_the_last_whole_transaction(tmp_path: Path, synced: bool) -> None:
    content, stages = written(tmp_path / "whole", synced=synced)
    for length in range(len(content)):
        expected = next(tree for reached, tree in reversed(stages) if reached <= length or reached == stages[0][0])
        folder = tmp_path / "cut"
        assert reopened(folder, content[:length]) == expected
        assert reopened(folder) == expected


def test_after_a_cut_it_goes_on(tmp_path: Path) -> None:
    content, stages = written(tmp_path, synced=True)
    (tmp_path / FILE).write_bytes(content[:-1])
    journal, tree = Journal.open(tmp_path)
    assert picture(tree) == stages[-2][1]
    journal.append(tree.change([Create("/next")], 5, 9))
    journal.sync()
    after = picture(tree)
    journal.close()
    assert reopened(tmp_path) == after


def test_a_flipped_bit_in_what_was_promised_is_never_overlooked(tmp_path: Path) -> None:
    """A later transaction says that it was on the disk, so it cannot be taken for the trace of a crash."""
    content, stages = written(tmp_path / "whole", synced=True)
    last = stages[-2][0]
    for position in range(last):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(DamagedJournal):
            reopened(tmp_path / "flipped", bytes(flipped))
        assert (tmp_path / "flipped" / FILE).read_bytes() == flipped


def test_a_flipped_bit_in_the_last_transaction_leaves_the_ones_before(tmp_path: Path) -> None:
    content, stages = written(tmp_path / "whole", synced=True)
    for position in range(stages[-2][0], len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        assert reopened(tmp_path / "flipped", bytes(flipped)) == stages[-2][1]


def test_what_nobody_was_told_of_may_be_cut_off_at_a_flipped_bit(tmp_path: Path) -> None:
    """Never synced: a machine that lost power may have kept later pages and lost earlier ones."""
    content, stages = written(tmp_path / "whole", synced=False)
    pictures = [tree for _, tree in stages]
    for position in range(stages[0][0], len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        assert reopened(tmp_path / "flipped", bytes(flipped)) in pictures


def test_a_damaged_snapshot_is_refused_even_when_nothing_follows(tmp_path: Path) -> None:
    journal, tree = Journal.open(tmp_path / "whole")
    for changes in STORY:
        journal.append(tree.change(changes, 5, 1))
    journal.rewrite(tree)
    journal.close()
    content = (tmp_path / "whole" / FILE).read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(DamagedJournal):
            reopened(tmp_path / "flipped", bytes(flipped))
    for length in range(len(MAGIC) + 100, len(content)):
        with pytest.raises(DamagedJournal):
            reopened(tmp_path / "flipped", content[:length])


def test_damage_is_told_with_file_and_place(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else altogether, and long enough to be a journal of its own, is it not")
    with pytest.raises(DamagedJournal) as refusal:
        Journal.open(tmp_path)
    assert (refusal.value.path, refusal.value.position) == (tmp_path / FILE, 0)


def test_rewriting_keeps_the_tree_and_makes_the_file_short(tmp_path: Path) -> None:
    journal, tree = Journal.open(tmp_path)
    journal.append(tree.change([Create("/a")], 5, 1))
    for number in range(200):
        journal.append(tree.change([Replace("/a", b"%d" % number)], 5, number))
    long = journal.size_bytes
    journal.rewrite(tree)
    assert journal.size_bytes == journal.snapshot_bytes == journal.durable_bytes < long / 10
    assert journal.tail_bytes == 0
    journal.append(tree.change([Create("/a/b")], 5, 2))
    journal.sync()
    expected = picture(tree)
    journal.close()
    assert reopened(tmp_path) == expected
    assert not (tmp_path / FRESH).exists()


def test_a_rewriting_that_was_cut_short_is_of_no_consequence(tmp_path: Path) -> None:
    content, stages = written(tmp_path, synced=True)
    for length in (0, 10, len(content) // 2):
        (tmp_path / FRESH).write_bytes(content[:length])
        assert reopened(tmp_path) == stages[-1][1]
    journal, tree = Journal.open(tmp_path)
    journal.rewrite(tree)
    journal.close()
    assert reopened(tmp_path) == stages[-1][1]


def test_a_directory_is_open_once(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path)
    with pytest.raises(JournalInUse):
        Journal.open(tmp_path)
    journal.close()
    Journal.open(tmp_path)[0].close()


def test_a_transaction_that_does_not_fit_on_the_disk_leaves_no_trace(tmp_path: Path) -> None:
    journal, tree = Journal.open(tmp_path)
    journal.append(tree.change([Create("/a")], 5, 1))
    before = (tmp_path / FILE).read_bytes()
    expected = picture(tree)
    large = tree.change([Create("/b", b"x" * 10_000)], 5, 2)
    with files_of_at_most(5_000), pytest.raises(OSError):
        journal.append(large)
    tree.undo(large)
    assert picture(tree) == expected
    assert (tmp_path / FILE).read_bytes() == before
    journal.append(tree.change([Create("/c")], 5, 3))
    expected = picture(tree)
    journal.close()
    assert reopened(tmp_path) == expected


def test_where_there_is_no_room_for_a_rewriting_the_journal_goes_on_as_it_is(tmp_path: Path) -> None:
    journal, tree = Journal.open(tmp_path)
    journal.append(tree.change([Create("/a", b"x" * 4_000)], 5, 1))
    with files_of_at_most(2_000):
        journal.rewrite(tree)
    assert journal.durable_bytes == journal.size_bytes
    assert not (tmp_path / FRESH).exists()
    journal.append(tree.change([Create("/b")], 5, 2))
    expected = picture(tree)
    journal.close()
    assert reopened(tmp_path) == expected


def test_a_closed_journal_has_no_file_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    journal, _ = Journal.open(tmp_path)
    journal.close()
    journal.close()
    after = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    assert len(after) == len(before)


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_a_journal_or_damage(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    for text in (content, MAGIC + content):
        with suppress(DamagedJournal):
            reopened(folder, text)
