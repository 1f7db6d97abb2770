"""The only door to weights, data and randomness: facts bound once, start values, members."""
