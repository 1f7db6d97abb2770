"""Which checkpoint of a pre-training to start from (paper Fig. 7)."""
