"""On-chain module: commitments of documents, and logs that consensus does not let be rewritten."""
