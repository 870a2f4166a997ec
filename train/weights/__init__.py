"""Weights in and out: checkpoints, models to begin with, adapters, and what `curate export` writes."""
