"""Trained curves between the networks of a study, beside the straight line."""
