"""Which learning rate suits each variant: an equal search on validation data, before everything else."""
