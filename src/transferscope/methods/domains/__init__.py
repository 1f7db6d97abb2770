"""How far two sets of images are apart."""
