"""Models by name: which is the champion, what a new one has to show to become it, and how it is kept fresh."""
