"""The four networks: what each achieves, over all classes and class by class, and the gap between P-T and RI-T."""
