"""How fast the loss rises around P-T and RI-T, each measure with its control."""
