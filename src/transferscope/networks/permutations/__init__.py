"""Which orders of hidden units leave a network's function as it is."""
