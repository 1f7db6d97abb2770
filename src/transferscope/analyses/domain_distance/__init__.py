"""How far the target is from the source (R1.4: "decreasing visual similarity" measured)."""
