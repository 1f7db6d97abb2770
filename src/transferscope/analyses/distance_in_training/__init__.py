"""Distance in parameter space along training (R4.6): how far from the start and the end, and in which direction."""
