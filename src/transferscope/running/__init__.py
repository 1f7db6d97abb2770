"""From a study to its tables: plan, rounds, work, executors."""
