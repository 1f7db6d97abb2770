"""Negative transfer: does the pre-trained start hurt (R2.2a, R3.1)."""
