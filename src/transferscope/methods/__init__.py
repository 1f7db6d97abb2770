"""What works on modules and loaders without a study: the public functions."""
