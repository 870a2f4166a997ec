"""Why a model says what it says: the training text that it repeats, and what it computes of a text."""
