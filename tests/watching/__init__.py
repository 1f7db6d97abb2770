"""Watching any loop."""
