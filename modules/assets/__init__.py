"""On-chain module: assets and their transfer."""
