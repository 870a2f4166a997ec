"""What a train.yaml may say; nothing here imports torch."""
