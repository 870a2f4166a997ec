"""Repositories of git: read without trust, and what is known of their files."""
