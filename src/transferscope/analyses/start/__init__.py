"""Which network to start from, and at which rate: a search on validation data, and its proof on test data."""
