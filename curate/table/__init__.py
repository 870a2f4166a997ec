"""Tables for supervised learning: rows with a label column, made ready by what the train split teaches."""
