"""Analyses: one folder per question; advice is an analysis too."""
