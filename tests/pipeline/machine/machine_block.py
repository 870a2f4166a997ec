"""A datatrove block of the user's own, named by `use:`. The state machine edits the line `CHOICE`."""

from pathlib import Path

from datatrove.pipeline.filters.base_filter import BaseFilter

CHOICE = 0


class Unwanted(BaseFilter):
    """Drops documents with more than `CHOICE` of the words that the file `words` lists (its model, so to say)."""

    name = "unwanted"

    def __init__(self, words: str):
        super().__init__()
        self.words = words

    def filter(self, document):
        unwanted = Path(self.words).read_text().split()
        found = sum(word in document.text for word in unwanted)
        return found <= CHOICE or (False, "unwanted_word")
