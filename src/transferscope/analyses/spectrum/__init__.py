"""Spectra of all weights, relative to their own initial value, with a control without weight decay (R2.2c)."""
