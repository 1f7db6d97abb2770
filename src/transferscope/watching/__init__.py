"""Attach to any training loop: record what moves away from the start, cheaply, and read such runs again."""
