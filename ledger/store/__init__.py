"""Where the chain is kept: one key-value interface, three implementations, one schema."""
