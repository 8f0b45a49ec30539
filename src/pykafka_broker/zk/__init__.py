"""The coordination port: a ZooKeeper ensemble through kazoo, or an embedded tree kept on disk."""
