"""What a stage is, the registry of names, and the adapter to datatrove."""
