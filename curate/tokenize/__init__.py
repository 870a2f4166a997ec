"""Tokenizer training and token shards."""
