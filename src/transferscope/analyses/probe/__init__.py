"""Linear probes: what each part of a network offers to a linear classifier (R4.1)."""
