"""What to train, before anything is trained: sizes, tokens, memory, time and cost."""
