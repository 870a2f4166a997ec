"""Erasing a person from everything that a store holds, and proving it without the data."""
