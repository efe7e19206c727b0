"""A service beside the chain: what it declares, and how it takes in what became final."""
