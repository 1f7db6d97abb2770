"""Losses and metrics anywhere in parameter space: lines, curves, planes, basins, curvature."""
