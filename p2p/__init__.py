"""How nodes talk: identity, encryption, framing, peers, gossip, discovery."""
