"""What people see who work in Python or a notebook: a study that runs, its results, images in memory."""
