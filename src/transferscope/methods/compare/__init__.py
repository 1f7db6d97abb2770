"""Two networks compared on data, and what is said of it."""
