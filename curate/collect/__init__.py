"""Sources: the outside world read into documents."""
