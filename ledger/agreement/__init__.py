"""What authorities sign: sign bytes, votes, certificates and authority sets."""
