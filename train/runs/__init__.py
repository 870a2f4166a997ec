"""A run from outside: its folder, its processes, what it tells while it goes, and what it leaves behind."""
