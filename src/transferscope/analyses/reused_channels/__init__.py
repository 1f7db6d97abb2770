"""Which channels of the pre-trained network are found again after fine-tuning, and which images excite them (R4.1)."""
