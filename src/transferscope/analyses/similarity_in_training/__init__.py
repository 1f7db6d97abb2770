"""Feature similarity along training (R4.6): every kept epoch against every other, and against P."""
