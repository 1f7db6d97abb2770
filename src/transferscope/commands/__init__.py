"""What the commands of ``transferscope`` do; :mod:`transferscope.cli` parses.

Heavy imports stay in functions.
"""
