"""How a network comes to be: settings, each with a key. No torch here."""
