"""The user's side of the line: keys, keystore, building, describing, signing, the RPC client."""
