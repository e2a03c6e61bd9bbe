"""Tables and plot of the ResNet-8 benchmark, laid out as [B] table V.

    ./run python benchmarks/compression_resnet_report.py

Reads benchmarks/results/compression_resnet.json; writes the .md beside it and docs/compression_resnet.png. A number is
the mean over the seeds, and after +- their standard deviation. Differences to the tensor train are taken seed by seed,
because all methods of a seed start from one dense network.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NAMES = {"svd": "SVD", "tt": "TT", "pctd": "NC-PCTD"}
Rows = list[dict[str, Any]]


def spread(values: list[float]) -> float:
    """Standard deviation over the seeds."""
    return statistics.stdev(values) if len(values) > 1 else float("nan")


def shown(values: list[float]) -> str:
    """Mean +- spread."""
    return f"{statistics.mean(values):.2f} ± {spread(values):.2f}"


def grouped(rows: Rows) -> dict[str, dict[tuple[str, str], Rows]]:
    """Rows of all seeds by group, and then by method and ranks; groups in order of falling size."""
    found: dict[str, dict[tuple[str, str], Rows]] = {}
    for row in sorted(rows, key=lambda row: (-row["weights"], row["seed"])):
        found.setdefault(row["group"], {}).setdefault((row["method"], row["label"]), []).append(row)
    order = sorted(found, key=lambda group: max(r["ratio"] for r in found[group].get(train_of(found[group]), [])))
    return {group: found[group] for group in order}


def train_of(methods: dict[tuple[str, str], Rows]) -> tuple[str, str]:
    """The key of a group's tensor train."""
    return next(key for key in methods if key[0] == "tt")


def accuracy_table(groups: dict[str, dict[tuple[str, str], Rows]]) -> list[str]:
    """One line a compressed network."""
    lines = [
        "| group | method | ranks | ratio, six layers | ratio, network | w/o fine-tune (%) | fine-tune (%) | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group, methods in groups.items():
        for (method, label), rows in sorted(methods.items(), key=lambda item: list(NAMES).index(item[0][0])):
            before, after = [r["before"] for r in rows], [r["after"] for r in rows]
            ratios = f"{rows[0]['ratio']:.2f} | {rows[0]['model_ratio']:.2f}"
            lines.append(
                f"| {group} | {NAMES[method]} | {label} | {ratios} | {shown(before)} | {shown(after)} | {len(rows)} |"
            )
    return lines


def difference(rows: Rows, trains: Rows, when: str) -> list[float]:
    """Accuracy above that of the tensor train, seed by seed."""
    reference = {row["seed"]: row[when] for row in trains}
    return [row[when] - reference[row["seed"]] for row in rows if row["seed"] in reference]


def difference_table(groups: dict[str, dict[tuple[str, str], Rows]]) -> list[str]:
    """Coupled minus independent, and whether that is more than the spread of the seeds."""
    lines = [
        "| group | (r_c, r_i) | w/o fine-tune, NC-PCTD - TT | fine-tune, NC-PCTD - TT | spread of TT's seeds | more? |",
        "|---|---|---|---|---|---|",
    ]
    for group, methods in groups.items():
        trains = methods[train_of(methods)]
        for (method, label), rows in methods.items():
            if method != "pctd":
                continue
            before, after = difference(rows, trains, "before"), difference(rows, trains, "after")
            seeds = spread([row["after"] for row in trains])
            more = statistics.mean(after) > max(seeds, spread(after))
            less = -statistics.mean(after) > max(seeds, spread(after))
            verdict = "more" if more else "less" if less else "no"
            lines.append(f"| {group} | {label} | {shown(before)} | {shown(after)} | {seeds:.2f} | {verdict} |")
    return lines


def plot(groups: dict[str, dict[tuple[str, str], Rows]], dense: list[float], path: Path) -> None:
    """Accuracy against ratio, before and after fine-tuning; of the coupled forms of a group each is a point."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    styles = {"svd": ("s", "tab:gray"), "tt": ("o", "tab:blue"), "pctd": ("^", "tab:red")}
    for axis, when, title in zip(axes, ("before", "after"), ("before fine-tuning", "after fine-tuning"), strict=True):
        for method, (marker, colour) in styles.items():
            found = [rows for methods in groups.values() for key, rows in methods.items() if key[0] == method]
            found.sort(key=lambda rows: rows[0]["ratio"])
            x = [rows[0]["ratio"] for rows in found]
            y = [statistics.mean(r[when] for r in rows) for rows in found]
            error = [spread([r[when] for r in rows]) if len(rows) > 1 else 0.0 for rows in found]
            line = "none" if method == "pctd" else "-"
            axis.errorbar(
                x, y, error, marker=marker, color=colour, linestyle=line, capsize=3, label=NAMES[method], alpha=0.8
            )
        mean, width = statistics.mean(dense), spread(dense)
        axis.axhspan(mean - width, mean + width, color="black", alpha=0.1)
        axis.axhline(mean, color="black", linewidth=1, label="dense")
        axis.set(xscale="log", xlabel="ratio over the six compressed layers", title=title)
        axis.set_xticks([2, 5, 10, 15, 30, 60, 120, 240], ["2", "5", "10", "15", "30", "60", "120", "240"], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy on 1647 digits (%)")
    axes[0].legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path("benchmarks/results/compression_resnet.json"))
    parser.add_argument("--plot", type=Path, default=Path("docs/compression_resnet.png"))
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())
    groups, dense = grouped(results["rows"]), list(results["dense"].values())
    bare = {when: [entry[when] for entry in results["without"].values()] for when in ("before", "after")}
    lines = [
        "# ResNet-8 on digits: accuracy against compression",
        "",
        "Written by benchmarks/compression_resnet_report.py from compression_resnet.json.",
        f"Dense: {shown(dense)} % over the seeds {', '.join(results['dense'])}. Groups 1 to 5 have the ranks of [B]"
        " table V; ranks are to be multiplied by q = 1, 2, 4 in conv3_x, conv4_x, conv5_x.",
        f"With the six layers' kernels zero: {shown(bare['before'])} %, and fine-tuned so {shown(bare['after'])} %.",
        "",
        *accuracy_table(groups),
        "",
        "Differences are means over the seeds ± standard deviation, per cent points.",
        "",
        *difference_table(groups),
    ]
    text = "\n".join(lines) + "\n"
    arguments.results.with_suffix(".md").write_text(text)
    plot(groups, dense, arguments.plot)
    print(text)


if __name__ == "__main__":
    main()
