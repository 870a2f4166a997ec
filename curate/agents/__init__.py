"""`curate mcp`: what a store tells, and what curate does, for language models over the Model Context Protocol."""
