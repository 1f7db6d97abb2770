"""The report: cards, tables, one self-contained HTML file."""
