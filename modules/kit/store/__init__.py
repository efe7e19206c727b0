"""Where services keep what they know: SQLite beside the node, or PostgreSQL by URL."""
