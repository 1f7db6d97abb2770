"""Learning curves and optimisation speed (paper Fig. 2)."""
