"""What docs/reliability.md says is what the tests hold; `python -m tools.reliability --write` makes it so."""

from tools.reliability import PAGE, Collected, page, read_rows


def test_every_situation_is_counted(kinds_of_faults: Collected) -> None:
    counted = {key: row.situations for key, row in read_rows().items()}
    assert counted == {key: len(tests) for key, tests in kinds_of_faults.items()}


def test_the_page_shows_what_was_counted() -> None:
    rows = read_rows().values()
    assert PAGE.read_text(encoding="utf-8") == page(rows)
    for row in rows:
        assert row.words <= row.wrong <= row.wrong + row.absent <= row.tried <= row.situations
        assert row.wrong_after == 0
