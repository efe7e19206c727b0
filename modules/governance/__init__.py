"""On-chain module: what the authorities decide together, by a quorum of their votes."""
