"""Whether networks share their mistakes before they have converged (R4.6), epoch by epoch."""
