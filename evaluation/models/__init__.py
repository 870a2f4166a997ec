"""Models as evaluation asks them: computed by our trunks or by transformers, or behind a server."""
