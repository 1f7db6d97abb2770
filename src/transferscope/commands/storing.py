"""``verify``: what a store holds, read anew."""

from pathlib import Path

from transferscope.commands.printing import say, study_command
from transferscope.commands.studies import studies_in
from transferscope.errors import CorruptEntryError, StoreError


def verify(root: Path) -> None:
    """Print what is damaged in a store.

    Args:
        root: of the store.

    Raises:
        StoreError: there is no store.
        CorruptEntryError: something is damaged.
    """
    from transferscope.store import Store
    from transferscope.store.verify import verify as problems_of

    if not Store.found(root):
        raise StoreError(f"there is no store at {root}", hint="name one with --store DIR")
    store = Store(root)
    problems = problems_of(store)
    counts = ", ".join(f"{count} {kind}" for kind, count in store.status().items() if count)
    say(f"read {counts or 'nothing'} in {root}")
    for each in problems:
        # A line, not a table: paths are to be copied whole.
        say(f"{each.path}: {each.what}" + ("" if each.harmful else " (no damage)"))
    harmful = [problem for problem in problems if problem.harmful]
    if harmful:
        runs = ", ".join(study_command("run", place, (), root) for place in studies_in(root))
        raise CorruptEntryError(
            f"{len(harmful)} files or folders in {root} are damaged",
            hint=f"{runs or 'a run of the study that made them'} sets damaged entries aside and makes them anew; check "
            "the disk",
        )
    say("everything is as it was written")
