"""What became of a change whose answer was lost with the connection.

The change is asked for again. If it is refused then, the first asking may be the reason: that is so when every node
looks as the change would have left it and all were written by one transaction later than anything seen before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pykafka_broker.zk.port import Change, Check, Create, Delete, Done, Node, NoNode, Replace, Stat


async def outcome_of(
    changes: Sequence[Change], since_zxid: int, session_id: int, read: Callable[[str], Awaitable[Node]], refused: str
) -> tuple[Done, ...] | None:
    """What the first asking gave, or ``None`` when it was not carried out, or cannot be told from others' doing.

    ``since_zxid`` is the last transaction known when it was first asked, ``refused`` the path that the second was
    refused for.
    """
    last: dict[str, Create | Replace | Delete] = {}
    for change in changes:
        if isinstance(change, Create) and change.sequential:
            return None
        if isinstance(change, Create | Replace | Delete):
            last[change.path] = change
    made = {change.path for change in changes if isinstance(change, Create)}
    stats: dict[str, Stat] = {}
    zxids: set[int] = set()
    for path, change in last.items():
        try:
            node = await read(path)
        except NoNode:
            if not isinstance(change, Delete):
                return None
            continue
        if isinstance(change, Delete) or node.data != change.data:
            return None
        stats[path] = node.stat
        zxids.add(node.stat.mzxid)
        if path in made:
            zxids.add(node.stat.czxid)
        if isinstance(change, Replace) and change.expected not in (-1, node.stat.version - 1):
            return None
        if isinstance(change, Create) and node.stat.ephemeral_owner != (session_id if change.ephemeral else 0):
            return None
    if not zxids and any(isinstance(change, Check) and change.path == refused not in last for change in changes):
        return None  # nothing is there that the first asking has written, and the check may have failed then as now
    if len(zxids) > 1 or any(zxid <= since_zxid for zxid in zxids):
        return None
    return tuple(_done(change, stats) for change in changes)


def _done(change: Change, stats: dict[str, Stat]) -> Done:
    match change:
        case Create(path):
            return path
        case Replace(path):
            return stats[path]
        case _:
            return None
