"""Toxicity: a lexicon, a small linear model, and Detoxify's models where they are asked for."""
