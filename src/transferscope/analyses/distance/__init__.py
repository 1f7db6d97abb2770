"""Distance in parameter space (paper Table 2)."""
