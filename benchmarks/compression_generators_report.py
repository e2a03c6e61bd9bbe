"""The table and the figure of benchmarks/compression_generators.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

RESULTS = Path(__file__).parent / "results" / "compression_generators.json"
FIGURE = Path(__file__).parent.parent / "docs" / "compression_generators.png"

Row = dict[str, Any]
Key = tuple[str, str, str, int]

DENSE_NUMBERS = 2222082
XTICKS, YTICKS = (4, 8, 15, 30, 45), (1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50)
SCRATCH = ("decomposed", "small dense")
STYLES = {
    ("svd", "independent", "decayed"): ("SVD", "C7", "v-"),
    ("tt", "independent", "decayed"): ("TT", "C0", "o-"),
    ("tt", "warm", "decayed"): ("TT, warm twins", "C0", "o:"),
    ("ctd", "independent", "decayed"): ("CTD", "C3", "s-"),
    ("ctd", "warm", "decayed"): ("CTD, warm twins", "C3", "s:"),
    ("pctd", "independent", "decayed"): ("CTD + PCTD", "C1", "P"),
    ("tucker", "independent", "decayed"): ("Tucker-2", "C4", "X"),
    ("cp", "independent", "decayed"): ("CP", "C5", "d"),
    ("tt", "independent", "plain"): ("TT of a plain training", "C9", "*"),
    ("decomposed", "independent", "decayed"): ("Conv1.5D, from scratch", "C2", "^--"),
    ("small dense", "independent", "decayed"): ("Conv2D, from scratch", "k", "x--"),
}
PANELS = (
    ("before", "epsilon_u", "before fine-tuning: ε of u after the zoom, %"),
    ("after", "epsilon_u", "after: ε of u after the zoom, %"),
    ("after", "gamma_l2_v", "after: relative L2 of v on Γ, %"),
)
HEADER = (
    "method",
    "dense training",
    "twins",
    "ratio",
    "numbers",
    "seeds",
    "before: ε u",
    "ε u",
    "worst seed",
    "times dense",
    "L2 u",
    "L2 v",
    "Γ: L2 v",
    "times dense",
    "epochs",
    "share of the time",
)


def report(rows: list[Row], results: Path = RESULTS, figure: Path = FIGURE) -> None:
    """Write the Markdown table beside the results, and the figure."""
    results.with_suffix(".md").write_text(table(rows))
    draw(rows, figure)


def grouped(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """Rows that differ in the seed alone; skipped ones left out."""
    found: defaultdict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        if "skipped" not in row:
            found[row["method"], row["training"], row["twins"], row["ratio"]].append(row)
    return dict(found)


def mean(rows: Iterable[Row], when: str, what: str) -> float:
    """Over the seeds."""
    return float(np.mean([row[when][what] for row in rows]))


def against_dense(rows: Iterable[Row], every: Iterable[Row], what: str) -> str:
    """Error after the fine-tune over that of the dense twins of the same seed and kind, mean over the seeds."""

    def kind(row: Row) -> tuple[Any, ...]:
        return row["training"], row["twins"], row["seed"]

    dense = {kind(row): row["after"][what] for row in every if row["method"] == "dense"}
    found = [row["after"][what] / dense[kind(row)] for row in rows if kind(row) in dense]
    return f"{np.mean(found):.2f}" if found else ""


def table(rows: list[Row]) -> str:
    """The Markdown file."""
    lines = [_line(HEADER), _line(["---"] * len(HEADER))]
    order = ["dense", *dict.fromkeys(method for method, *_ in STYLES)]
    found = grouped(rows)
    for key in sorted(found, key=lambda key: (order.index(key[0]), *key[1:])):
        lines.append(_line(_cells(key, found[key], rows)))
    skipped = [f"- {row['method']}, {row['ratio']} times: {row['skipped']}" for row in rows if "skipped" in row]
    return TEXT + "\n".join(lines) + "\n" + ("\nNot to be had:\n" + "\n".join(skipped) + "\n" if skipped else "")


TEXT = """Errors in %, means of 20 fresh samples and the seeds. `ratio` is asked for, of all trainable numbers; `twins`
says whether the velocity's began at the displacement's. `dense training`: plain, or with a weight decay of 3 from
initial weights of a fifth, which makes low ranks. ε and L2 are after a zoom under the Dirichlet condition, which
takes the predicted u alone, so the predicted v is judged on Γ. `times dense` compares with the dense twins of the same
seed and kind. A fine-tune has as many epochs as cost a tenth of the dense training's time (240 epochs a twin), by the
seconds of a step measured in turn with the dense model's; networks from scratch (plain
trainings, compared with the decayed dense) get the time of both.
Made by `./run python benchmarks/compression_generators.py`.

"""


def _cells(key: Key, rows: list[Row], every: list[Row]) -> list[str]:
    method, training, twins, ratio = key
    scratch = method in SCRATCH
    return [
        method,
        "" if scratch else training,
        "" if scratch else twins,
        str(ratio),
        f"{rows[0]['parameters'] / 1e3:.0f} k",
        str(len(rows)),
        _per_cent(mean(rows, "before", "epsilon_u")) if "before" in rows[0] else "",
        _per_cent(mean(rows, "after", "epsilon_u")),
        _per_cent(max(row["after"]["epsilon_u"] for row in rows)),
        against_dense(rows, every, "epsilon_u"),
        _per_cent(mean(rows, "after", "l2_u")),
        _per_cent(mean(rows, "after", "l2_v")),
        _per_cent(mean(rows, "after", "gamma_l2_v")),
        against_dense(rows, every, "gamma_l2_v"),
        f"{np.mean([row['epochs'] for row in rows]):.0f}" if "epochs" in rows[0] else "",
        f"{np.mean([row['time_share'] for row in rows]):.3f}" if "time_share" in rows[0] else "",
    ]


def draw(rows: list[Row], path: Path) -> None:
    """Curves of the error against the numbers left."""
    found = grouped(rows)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(15, 4.6), layout="constrained")
    for axis, (when, what, title) in zip(axes, PANELS, strict=True):
        for (method, twins, training), (label, colour, style) in STYLES.items():
            keys = sorted(key for key in found if key[:3] == (method, training, twins) and when in found[key][0])
            times = [DENSE_NUMBERS / np.mean([row["parameters"] for row in found[key]]) for key in keys]
            each = [100 * np.array([row[when][what] for row in found[key]]) for key in keys]
            middle = [float(values.mean()) for values in each]
            spread = np.array([(values.mean() - values.min(), values.max() - values.mean()) for values in each])
            if keys:
                axis.errorbar(times, middle, spread.T, fmt=style, color=colour, label=label, capsize=3, markersize=5)
        dense = found.get(("dense", "decayed", "independent", 1))
        if dense:
            level = 100 * mean(dense, "after", what)
            axis.axhline(level, color="k", lw=1, label="dense")
            axis.axhline(1.25 * level, color="k", lw=1, ls="-.", label="1.25 times dense")
        axis.set(xscale="log", yscale="log", xlabel="times fewer trainable numbers than dense", title=title)
        axis.set_xticks(XTICKS, map(str, XTICKS))
        axis.set_yticks(YTICKS, map(str, YTICKS))
        axis.minorticks_off()
        axis.set_ylim(*(np.array([0.8, 1.25]) * axis.dataLim.intervaly))
        axis.grid(alpha=0.25)
    axes[1].legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _per_cent(fraction: float) -> str:
    return f"{100 * fraction:.3g}"
