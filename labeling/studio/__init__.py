"""A Label Studio as a window on a task's logs: its environment and process, pushing, pulling, predictions as people work."""
