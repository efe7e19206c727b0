"""On-chain module: whose accounts there are, and who may act for them."""
