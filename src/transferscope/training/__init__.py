"""Training: one loop, its optimisers, schedules and files."""
