"""What docs/reliability.md says is what the tests hold; `python -m tools.reliability --before` makes it so."""

from tools.reliability import COMMIT, PAGE, Collected, page, read_rows


def test_every_situation_is_counted_and_was_tried(kinds_of_faults: Collected) -> None:
    rows = read_rows()
    assert {key: row.situations for key, row in rows.items()} == {k: len(v) for k, v in kinds_of_faults.items()}
    assert [key for key, tests in kinds_of_faults.items() if rows[key].is_stale(sum(tests.values()), COMMIT)] == []


def test_the_page_shows_what_was_counted() -> None:
    rows = read_rows().values()
    assert PAGE.read_text(encoding="utf-8") == page(rows)
    assert sum(row.wrong_after for row in rows) == 0
    for row in rows:
        assert row.words <= row.wrong <= row.wrong + row.absent <= row.tried
