"""datatrove both ways: its blocks as stages (`stage`), our stages as its blocks (`filter`); `block` runs a block."""
