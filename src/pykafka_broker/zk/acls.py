"""Who may do what with a node: everybody everything, or with ``zookeeper.set.acl`` what Kafka's brokers grant.

That is ``ZkData.defaultAcls``: whoever has the broker's credentials may do everything, all others read, except where
secrets are kept. ``/consumers`` stays open, since old consumers write below it.
"""

from __future__ import annotations

from kazoo.security import ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

OPEN = "/consumers"
SENSITIVE = ("/config/users", "/config/brokers", "/delegation_token/tokens")
"""Where a path begins so, its node is not for everybody's eyes."""


def acls_of(path: str, *, secured: bool) -> list[ACL]:
    """What a node made at the path (below the chroot) is given."""
    if not secured or path == OPEN:
        return list(OPEN_ACL_UNSAFE)
    if path.startswith(SENSITIVE):
        return list(CREATOR_ALL_ACL)
    return [*CREATOR_ALL_ACL, *READ_ACL_UNSAFE]
