"""What a run that goes on has still to do, in words."""

from transferscope.rounding import duration
from transferscope.running.results import Results


def still_to_come(results: Results) -> list[str]:
    """What a run that is not finished has still to do, in sentences; nothing for a finished one."""
    remaining = results.remaining
    if remaining is None:
        return []
    names = ", ".join(item.analysis.title for item in results.analyses if item.waiting)
    lines = [f"Still to come: {names}."] if names else []
    if remaining.unknown:
        lines.append(f"How much is left cannot be told: {remaining.unknown}.")
    else:
        kinds = {"trainings": remaining.trainings, "measurements": remaining.measurements}
        counts = [f"{done} of at most {planned} {kind}" for kind, (done, planned) in kinds.items()]
        lines.append(f"Done are {' and '.join(counts)}; {_left(remaining.seconds)}.")
    run = results.manifest.get("run")
    again = "run the study again" if run is None else f"`{run}`"
    lines.append(
        f"This page is written anew as the run goes on: reload it. If the run was stopped: {again} goes on from there."
    )
    return lines


def _left(seconds: tuple[float, float] | None) -> str:
    if seconds is None:
        return "the time left is told once a training is finished"
    low, high = (duration(bound) for bound in seconds)
    return f"about {low if low == high else f'{low} to {high}'} are left, at most"
