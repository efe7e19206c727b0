"""Every bound of the web layer in one frozen object, with the reason beside each number.

A server that stands on the open side of a process lives by its limits: each queue, buffer,
wait and count below is finite, so the memory of one connection and of all of them together
can be worked out from this page. Names end in their unit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on requests, connections, waits and queues. All have working defaults."""

    request_line_bytes_max: int = 8 * 1024
    """RFC 9112 §3 asks every recipient to take at least 8,000 octets."""

    head_bytes_max: int = 16 * 1024
    """Request line and fields together; browsers and proxies stay under 8 KiB."""

    header_count_max: int = 64
    """Twice what a browser behind two proxies sends."""

    body_bytes_max: int = 1024 * 1024
    """The published limit of a JSON-RPC body and of a WebSocket message."""

    response_bytes_max: int = 8 * 1024 * 1024
    """What one answer may hold; the calls of a batch beyond it get limitExceeded."""

    batch_calls_max: int = 100
    """The published limit of a JSON-RPC batch."""

    json_values_max: int = 10_000
    """Arrays, objects and members of one message. 1 MiB of `[[],[],…]` would take 150 ms to
    read and 25 MiB to hold; a thousand transactions, or a hundred calls with ninety values
    each, stay below."""

    connections_max: int = 2048
    """Open at once. Each may hold 64 KiB unasked; what it holds beyond comes out of
    `memory_bytes_max`."""

    memory_bytes_max: int = 128 * 1024 * 1024
    """What all connections together may hold beyond that: bodies on their way in, calls under
    way, answers not yet read. When it is full, large requests get 503 and small ones go on."""

    connections_per_client_max: int = 1536
    """So that one address cannot take the whole house."""

    head_timeout_ms: int = 10_000
    """First byte of a request to the end of its head, and a new connection's first byte.
    Absolute, so a byte now and then buys no time (slowloris)."""

    body_timeout_ms: int = 30_000
    """End of the head to the end of the body: 1 MiB at 35 KiB/s."""

    idle_timeout_ms: int = 60_000
    """Between requests on a kept connection; pools commonly drop theirs sooner."""

    write_timeout_ms: int = 60_000
    """For one answer to leave; a reader slower than that has gone."""

    linger_timeout_ms: int = 2_000
    """After an error answer, so that it is read before the connection resets (RFC 9112 §9.6)."""

    pipeline_burst_max: int = 32
    """Requests answered in one go before the loop gets a turn: about 1 ms of cheap calls."""

    frames_per_message_max: int = 4096
    """Fragments of one WebSocket message; real clients send 1."""

    ws_ping_interval_ms: int = 20_000
    """Below the 30 s after which home routers forget a silent connection."""

    ws_silence_max_ms: int = 50_000
    """Two pings and some slack: then the peer is gone (half-open)."""

    ws_close_timeout_ms: int = 3_000
    """How long to wait for the peer's close frame."""

    ws_calls_queued_max: int = 64
    """Calls of one WebSocket that wait for their turn; beyond it we stop reading."""

    ws_calls_waiting_max: int = 32
    """Calls of one WebSocket that wait for an event (`tx_wait`), each a task."""

    ws_outgoing_bytes_max: int = 512 * 1024
    """Unsent bytes of one WebSocket at which events and reading stop; answers of calls under
    way may exceed it, their number is bounded above."""

    ws_stall_ms: int = 15_000
    """How long a subscription waits for room before it is ended by `sub_lagged`."""

    subscriptions_max: int = 32
    """Per WebSocket: one per topic and a few accounts."""

    local_events_queued_max: int = 256
    """Of one subscription to a local topic; beyond it the oldest go and the client is told."""

    sub_heartbeat_ms: int = 5_000
    """A subscription that was silent for so long sends a heartbeat: two of them pass before the
    12 s after which a page calls itself stale."""

    replay_events_max: int = 256
    """Events read from a topic's log in one go."""


def seconds(duration_ms: int) -> float:
    """Milliseconds as the seconds that trio's clock counts."""
    return duration_ms / 1000
