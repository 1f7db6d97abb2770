"""Pictures: one file per analysis, from its table to its figures. No torch here."""
