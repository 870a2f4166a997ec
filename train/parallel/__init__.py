"""A model over processes: who we are, what is cut into shards, and 8-bit products."""
