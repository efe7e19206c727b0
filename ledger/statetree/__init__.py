"""The commitment to state: a 16-ary sparse Merkle radix tree and its proofs."""
