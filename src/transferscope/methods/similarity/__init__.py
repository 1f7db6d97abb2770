"""How alike the representations of networks are."""
