"""Networks: architectures, weights, named modules, evaluation.

Import the module you need; this one loads nothing.
"""
