"""Hidden units of two networks put in one order."""
