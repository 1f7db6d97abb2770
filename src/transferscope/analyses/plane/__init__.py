"""Planes through the networks of a study, and of random directions around them."""
