"""Ablations: which data, and which settings, train the better model; seeds, not documents, are what is drawn."""
