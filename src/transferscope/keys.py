"""Values that stand in columns and that programs ask for: written and compared by one name, never spelt twice."""

OWN_STATISTICS = "own statistics"
"""In ``batch_norm``: the network as it was trained, not as a point of a line or a plane."""
NO_BATCH_NORM = "no batch norm"
"""In ``batch_norm``: there are no running statistics that a policy could change."""
RANDOM_DIRECTIONS = "random directions"
"""In ``kind`` of a plane: it lies around one network, not through three."""
SPECTRUM_SLOPE = "spectrum slope"
"""In ``quantity`` of the distance between domains: of the power spectrum of images."""
TRAINED_ON = "RI-T/RI-T, trained on"
"""In ``pair``: a finished run, and the same run trained on."""
FINAL_GAP = "final_gap"
"""Key of a number: the final test metric of P-T minus that of the variant that is its subject."""
SPEED_GAP = "speed_gap"
"""Key of a number: the optimisation speed of P-T minus that of the variant that is its subject."""


def gap_key(better: str, worse: str) -> str:
    """What stands in ``variant`` of a row that compares two variants.

    >>> gap_key("P_T", "RI_T")
    'P_T − RI_T'
    """
    return f"{better} − {worse}"


def ratio_key(above: str, below: str) -> str:
    """What stands in ``variant`` of a row that divides one variant's value by another's.

    >>> ratio_key("P-T", "P")
    'P-T / P'
    """
    return f"{above} / {below}"


def shown(variant: str) -> str:
    """A variant or a network as readers know it, everywhere.

    >>> shown("P_T"), shown("RI_T_long"), shown("RI-T[0]"), shown("P_T_block_8")
    ('P-T', 'RI-T-long', 'RI-T[0]', 'P-T, blocks of 8 px')
    """
    start, block, side = variant.partition("_block_")
    return start.replace("_", "-") + (f", blocks of {side} px" if block else "")
