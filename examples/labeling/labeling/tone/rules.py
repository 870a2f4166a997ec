"""Labeling functions that are more than words."""


def polite(text: str) -> str | None:
    """Who begins with a thing that they like is content."""
    return "praise" if text.lower().startswith(("i love", "we love", "great", "what a")) else None
