"""Webhooks: events of a durable log, signed and posted to receivers until they took them.

`signing` makes and checks signatures, `addresses` decides where a post may go, `schedule` when
the next attempt is, `events` what is in a body; `posting` makes one attempt, `database` and
`store` keep endpoints and deliveries, `courier` runs it all. None of them knows what a node is:
the host hands in a log, a clock and a place on disk.
"""
