"""Versions: the store, refs, the ledger, reading, comparing, checking."""
