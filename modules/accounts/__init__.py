"""On-chain module: opening accounts and changing their keys."""
