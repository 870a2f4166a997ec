"""What is learned: an objective a class, each the root module of a run (docs/decisions/0005-trainer.md)."""
