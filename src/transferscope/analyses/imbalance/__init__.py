"""Long-tailed training images: what pre-training gives to rare classes."""
