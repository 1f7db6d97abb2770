"""Transplants: which modules of P hold the gain (R4.1)."""
