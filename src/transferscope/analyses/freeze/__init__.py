"""Freezing: which first modules may stay as pre-trained."""
