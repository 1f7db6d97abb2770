"""Paths between checkpoints: when runs part or stay together, when each is connected to its end, and from P onwards."""
