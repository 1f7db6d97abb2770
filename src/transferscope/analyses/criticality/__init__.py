"""Module criticality (paper Figs. 5 and 6): which modules can go back to their start without loss."""
