"""Filters: language and quality."""
