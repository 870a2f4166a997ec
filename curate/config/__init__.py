"""Configuration: YAML files, places of values, overrides, checks, and the reference made from the models."""
