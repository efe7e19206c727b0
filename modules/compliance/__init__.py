"""On-chain module: attestations, and policies that judge payments and say why."""
