"""A Label Studio as a window on a task's logs: its environment and process, pushing and pulling, predictions while people work."""
