"""What a step sees: examples by number, and which numbers a step takes (docs/decisions/0005-trainer.md)."""
