"""HTTP/1.1, WebSocket and JSON-RPC: the server that node, sidecars and gateway stand on.

The map, from the wire inwards; each file knows only those above it (and `limits`, `errors`):

    head        bytes of a request → a checked head; chunked bodies
    memory      one allowance of bytes for all connections
    messages    Request, Response, who the peer is
    http        the connection loop
    guard       hosts, origins, tokens, budgets, rationed logging
    jsonrpc     methods and the dispatcher; knows no transport
    openrpc     the document and the reference, from the methods
    websocket   JSON-RPC over WebSocket (frames: its text messages)
    subscriptions  topics pushed over a WebSocket
    app         what a server answers: gate, JSON-RPC, upgrades, the host's pages
    server      listeners, connections, stopping

    http_client, ws_client, client   the other end: `client.RpcClient` is what callers use
"""
