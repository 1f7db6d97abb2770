"""Training: one loop, its optimisers, schedules and files. The recipe alone is free of torch."""
