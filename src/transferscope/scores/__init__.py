"""Scores of networks that could be fine-tuned: on the user's images, without fine-tuning."""
