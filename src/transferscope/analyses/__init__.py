"""Analyses: one file per question; advice is an analysis too."""
