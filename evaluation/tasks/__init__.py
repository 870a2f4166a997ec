"""Tasks: what is asked of a model, and what is kept of each answer."""
