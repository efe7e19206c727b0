"""A transparency log as a service: what every module did, kept so that nobody rewrites it."""
