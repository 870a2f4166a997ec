"""Models: a trunk a file, from tokens to hidden states (docs/decisions/0005-trainer.md)."""
