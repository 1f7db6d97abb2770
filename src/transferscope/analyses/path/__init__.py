"""Linear paths between the networks of a study (paper Fig. 4), with a ruler that is checked first."""
