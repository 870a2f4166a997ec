"""Measurements against the peers that anybody can run."""
