"""Pages of the web: how they are found, who may have them, and what they say of themselves."""
