"""What the pictures of all analyses share: theme, panels, export. No torch here."""
