"""Rewinding and re-randomising modules (paper Fig. 5): what is lost when a module goes back to its start."""
