"""Tests of a first look."""
