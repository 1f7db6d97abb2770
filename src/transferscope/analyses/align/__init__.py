"""Whether a barrier between two networks of a study is one of permutation: the straight line before and after."""
