"""The helper module of the user's own stages: what a vowel is. The state machine edits the line `CHOICE`."""

CHOICE = 0
VOWELS = ("aeiou", "aeiouy", "aeiouwy")


def share(text):
    """Share of the characters that are vowels."""
    return sum(letter in VOWELS[CHOICE] for letter in text.lower()) / max(len(text), 1)
