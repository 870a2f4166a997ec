"""What a completion is worth: rewards that are pure functions of texts, and the process that computes them."""
