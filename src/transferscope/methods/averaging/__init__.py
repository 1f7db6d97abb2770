"""Averages of networks' weights: when one network can stand for several."""
