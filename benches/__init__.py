"""Benches: each prints one JSON object with the limit measured in the same run."""
