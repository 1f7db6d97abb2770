"""Tables for papers: booktabs, escaped, nulls as en dashes."""

import polars as pl

from transferscope.report.numbers import value_words

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "−": r"$-$", "–": "--", "\u202f": r"\,", "α": r"$\alpha$", "κ": r"$\kappa$", "ℓ": r"$\ell$", "→": r"$\to$",
    "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$", "∞": r"$\infty$", "σ": r"$\sigma$",
    "\n": " ",
}  # fmt: skip

_TABLE = str.maketrans(_SPECIAL)


def escape(text: str) -> str:
    r"""``text`` as LaTeX prints it, whatever it holds.

    >>> escape("P_T & 5 %")
    'P\\_T \\& 5 \\%'
    """
    return text.translate(_TABLE)


def latex(table: pl.DataFrame, caption: str = "", label: str = "", long_from: int = 60) -> str:
    """The table as LaTeX source.

    Numbers are right-aligned and shortened as in the report; text is left-aligned. Needs the package ``booktabs`` and,
    from ``long_from`` rows on, ``longtable``.

    Args:
        label: for ``\\ref``.
    """
    spec = "".join("r" if dtype.is_numeric() else "l" for dtype in table.dtypes)
    head = " & ".join(escape(name) for name in table.columns) + r" \\"
    body = [" & ".join(escape(value_words(value)) for value in row) + r" \\" for row in table.iter_rows()]
    titles = ([rf"\caption{{{escape(caption)}}}"] if caption else []) + ([rf"\label{{{label}}}"] if label else [])
    if table.height >= long_from:
        title = ["".join(titles) + r" \\"] if titles else []
        lines = [
            rf"\begin{{longtable}}{{@{{}}{spec}@{{}}}}", *title, r"\toprule", head, r"\midrule", r"\endhead",
            *body, r"\bottomrule", r"\end{longtable}",
        ]  # fmt: skip
    else:
        lines = [
            r"\begin{table}", r"\centering", *titles, rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}", r"\toprule", head,
            r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]  # fmt: skip
    return "% needs \\usepackage{booktabs,longtable}\n" + "\n".join(lines) + "\n"
