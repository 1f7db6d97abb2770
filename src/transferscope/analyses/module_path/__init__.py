"""One module at a time: what lies between two networks in each of their modules, beside similarity and distance."""
