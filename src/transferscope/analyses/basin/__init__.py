"""The (ε, δ) test of basins between the networks of a study (paper Def. 3.1)."""
