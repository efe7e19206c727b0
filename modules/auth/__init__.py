"""Service `auth`: sign-in for people and programs; what they may do is decided by the ledger."""
