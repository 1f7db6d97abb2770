"""Input ablations (paper Fig. 3): what of the gain is left when images lose their shapes, phases or colours."""
