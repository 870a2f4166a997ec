"""Conversations as rows: the forms they come in, what is wrong with them, and what can be put right."""
