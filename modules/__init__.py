"""One folder per service; `registry.py` lists the on-chain ones in consensus order."""
