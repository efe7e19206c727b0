"""On-chain module: who may do what, and who could at any height before."""
