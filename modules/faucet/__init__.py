"""The faucet: money of test networks for whoever asks. Never on a network that matters."""
