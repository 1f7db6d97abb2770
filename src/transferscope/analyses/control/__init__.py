"""Control initialisations: how much of the gain is features, how much statistics (R1.1, R4.2)."""
