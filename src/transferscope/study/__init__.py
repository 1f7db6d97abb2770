"""What is asked for: one frozen model, its file, its schema. No torch here."""
