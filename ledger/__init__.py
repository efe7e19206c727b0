"""What the chain *is*: values, canonical bytes, the state tree, storage, and the transition.

The map: `errors` (one tree), `codec` (canonical msgpack), `crypto` (hashes, Ed25519),
`address` (bech32m), `params`, `transactions`, `blocks`, `genesis` are values; `agreement/`
is what authorities sign; `kernel/` is the one path by which value moves; `transition`
applies transactions over an `overlay`; `statetree/` commits to state; `store/` keeps it.
Everything here is pure but `store/leveldb.py`.
"""
