"""Texts of documents: one reader for each kind of file, from its bytes to its text."""
