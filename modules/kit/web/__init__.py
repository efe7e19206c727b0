"""HTTP/1.1, WebSocket and JSON-RPC: the server that node, sidecars and gateway stand on."""
