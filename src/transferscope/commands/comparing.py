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
    from transferscope.running.compare_files import compare_files

    say(compare_files(a, b, model=model, data=data, image_size=image_size).text)
