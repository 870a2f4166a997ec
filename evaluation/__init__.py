"""Evaluation: what a model can do, how two of them differ, and what data is worth, each with its uncertainty."""
