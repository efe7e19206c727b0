"""How authorities agree: a synchronous state machine, inputs in, effects out.

The map: `inputs` and `effects` are what goes in and comes out; `machine.Machine.step` is the
only door. Behind it, `votes` counts, `proposals` keeps what was proposed, `round` is Algorithm 1
of arXiv 1807.04938 line by line, `proposer` says whose turn it is, `timeouts` how long a round
waits, and `wal_records` gives each input the bytes in which a node's log keeps it.
Nothing here reads a clock, a file, a socket or chance; `docs/consensus.md` is the manual.
"""
