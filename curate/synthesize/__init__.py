"""Documents that a language model writes, from documents that are there."""
