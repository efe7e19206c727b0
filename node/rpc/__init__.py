"""The node's JSON-RPC methods."""
