"""How nodes talk: identity, encryption, framing, peers, discovery.

From the wire upwards; each file knows those above it only:

    address     node ids, NODE-ID@HOST:PORT, networks that caps count by
    noise       Noise XX arithmetic, pure            records   sealed records, frames, messages
    handshake   who is there, on which network       channels  priorities, windows, rates
    transport   TCP, and a network in memory         memory    what all peers together may hold
    connection  one authenticated peer               standing  scores and bans
    gate        strangers before they authenticate   book      signed records of where nodes are
    discovery   whom to dial, what peers are told    pool      all connections of one node

The pool knows channels and kinds, never what a payload means: that is the node's.
"""
