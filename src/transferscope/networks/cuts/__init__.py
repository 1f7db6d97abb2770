"""One trace of a network, and where it can be cut, so that what does not change runs once."""
