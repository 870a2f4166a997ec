"""Sources that fetch: databases, interfaces, other versions, what people add."""
