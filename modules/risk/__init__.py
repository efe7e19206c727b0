"""On-chain module: scores of risk that several oracles agree on, as other modules ask for them."""
