"""Every point at which a machine may stop, and every state in which its file system may be found afterwards."""
