"""What `curate export` writes: a trained model in the files of engines, each compared with our own forward pass."""
