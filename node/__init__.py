"""The daemon: performs effects; owns tasks, files, the mempool and JSON-RPC."""
