"""Mappers that clean text."""
