"""On-chain module: assets, who issues and controls them, and paying with them."""
