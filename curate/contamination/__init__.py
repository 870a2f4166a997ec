"""Evaluation data, found in training data and taken out of it."""
