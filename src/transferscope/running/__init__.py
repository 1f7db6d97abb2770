"""From a study to its tables: plan, work, executors, and the one door to weights and data."""
