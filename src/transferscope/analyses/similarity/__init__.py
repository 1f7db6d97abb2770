"""Feature similarity of the networks of a study: CKA, all layers × all layers, one pass (paper Table 1)."""
