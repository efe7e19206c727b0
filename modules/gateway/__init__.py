"""The API gateway: routes, protects and sells any HTTP API for payments on the ledger."""
