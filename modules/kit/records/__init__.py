"""Records of a service in its database: what may happen to one, and what did."""
