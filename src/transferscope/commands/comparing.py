"""``compare``: two files of weights, on the user's data."""

from pathlib import Path

from transferscope.commands.printing import say

__all__ = ["compare"]


def compare(a: Path, b: Path, model: str | None, data: Path, image_size: int | None) -> None:
    """Print how two networks differ.

    Args:
        a: file of weights.
        b: another of the same architecture.
        model: the architecture; None reads it from the files' metadata.
        data: folder of labelled pictures.
        image_size: height and width in pixels; None takes the default.
    """
    from transferscope.analyses.compare import compare_files

    options = {} if image_size is None else {"image_size": image_size}
    say(compare_files(a, b, model=model, data=data, **options).text)
