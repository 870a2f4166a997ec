"""How parameters move: optimizers and their schedules, and training against noise."""
