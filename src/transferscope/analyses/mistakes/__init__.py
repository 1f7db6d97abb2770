"""Which mistakes two networks share (paper Sec. 3.2), how hard the images are, and which classes change."""
