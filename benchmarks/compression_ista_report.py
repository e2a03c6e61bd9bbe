"""Table and figure of the compressed ISTA-Net+ (benchmarks/compression_ista.py), as Table I of [B] is laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FIGURE = Path(__file__).parents[1] / "docs" / "compression_ista.png"
TITLES = {
    "own": "W_nm trained from random weights",
    "warm": "W_nm trained from W_m",
}
UNCOMPRESSED = 5 * 2 * 9 * 32
"""Weights of conv1 and conv6, which stay as they are."""
REDUCED = """Reduced against [B]: 32 channels in place of 128 (so that one rank here is worth about four there); 10
training images in place of 91 and 6 test images in place of Set11, other ones, that ship inside scikit-image and
scikit-learn, halved where they have 400 pixels or more a side; {steps} steps (W_m, W_nm from random, W_nm from W_m)
of {batch} patches in place of 200 epochs; fine-tuning by {fine_steps} steps of {fine_batch} patches in place of 10
epochs; the symmetry term of the loss left out. Added: a weight decay of {decay:g} in training. All fine-tuning has the
same steps, patches and rates; it starts with thresholds of zero, and gradients leak a thousandth through ReLU and
shrinkage, for phases of strongly compressed networks come out dead otherwise. PSNR in dB is the mean over the test
images; ± is the standard deviation over {seeds} seeds. CR is [B] eq. 20 as in Table I, with conv1 and conv6 counted,
and beside it that of the compressed layers alone."""


def values(entry: dict[str, Any], what: str) -> np.ndarray:
    """One number of a row for each seed."""
    return np.array([seed[what] for _, seed in sorted(entry["seeds"].items())])


def spread(numbers: np.ndarray, sign: str = "") -> str:
    """Mean ± standard deviation over seeds."""
    deviation = f" ± {numbers.std(ddof=1):.2f}" if len(numbers) > 1 else ""
    return f"{numbers.mean():{sign}.2f}{deviation}"


def each(numbers: np.ndarray, sign: str = "") -> str:
    """The numbers of all seeds."""
    return ", ".join(f"{number:{sign}.2f}" for number in numbers)


def num_dead(found: dict[str, Any], entry: dict[str, Any]) -> int:
    """Seeds in which a network ended where the linear initialisation is, within 0.05 dB: its phases are dead."""
    start = {seed: value + 0.05 for seed, value in found["linear"].items()}
    return sum(numbers["after"] < start[seed] for seed, numbers in entry["seeds"].items())


def ratios(entry: dict[str, Any], dense: int) -> tuple[float, float]:
    """Compression ratios of the network and of its compressed layers."""
    after = values(entry, "weights")[0]
    return dense / after, (dense - UNCOMPRESSED) / (after - UNCOMPRESSED)


def of(found: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """The rows with these settings that have results."""
    rows = [entry for entry in found["rows"].values() if entry["seeds"]]
    return [entry for entry in rows if all(entry[key] == value for key, value in wanted.items())]


def gain(entry: dict[str, Any], other: dict[str, Any], what: str) -> np.ndarray:
    """How much better a row is than another, for each seed that both have."""
    seeds = sorted(set(entry["seeds"]) & set(other["seeds"]))
    return np.array([entry["seeds"][seed][what] - other["seeds"][seed][what] for seed in seeds])


def cells(entry: dict[str, Any], dense: int) -> list[str]:
    """Ranks, PSNR before and after, and ratios."""
    whole, layers = ratios(entry, dense)
    ranks = entry["ranks"]
    name = str(ranks[0]) if len(ranks) == 1 else f"({ranks[0]}, {ranks[1]})"
    return [name, spread(values(entry, "before")), spread(values(entry, "after")), f"{whole:.1f}", f"{layers:.1f}"]


def table(found: dict[str, Any], origin: str, dense: int) -> list[str]:
    """Groups as in Table I: TT at the left, NC-CTD at the right."""
    side = "PSNR before | after | CR | of the layers"
    lines = [
        f"| group | TT r | {side} | NC-CTD (r_c, r_i) | {side} | NC-CTD − TT before | after |",
        "|" + " --- |" * 13,
    ]
    for plain in sorted(of(found, origin=origin, method="tt", weighting="weights"), key=lambda entry: entry["group"]):
        left = [str(plain["group"]), *cells(plain, dense)]
        for coupled in of(found, origin=origin, method="ctd", weighting="weights", group=plain["group"], alpha=1.0):
            gains = [spread(gain(coupled, plain, what), "+") for what in ("before", "after")]
            lines.append("| " + " | ".join([*left, *cells(coupled, dense), *gains]) + " |")
            left = [""] * 6
    return lines


def variants(found: dict[str, Any], dense: int) -> list[str]:
    """Rows with another alpha or weighting, each beside the one that it varies."""
    lines = [
        "| W_nm | method | ranks | variant | PSNR before | after | gain before | gain after |",
        "|" + " --- |" * 8,
    ]
    for entry in found["rows"].values():
        same = {key: entry[key] for key in ("origin", "method", "ranks")}
        varied = entry["weighting"] != "weights" or (entry["method"] == "ctd" and entry["alpha"] == 0.0)
        plain = of(found, **same, weighting="weights", alpha=1.0 if entry["method"] == "ctd" else 0.0)
        if not varied or not entry["seeds"] or not plain:
            continue
        variant = ", ".join(
            ["α = 0"] * (entry["method"] == "ctd") + ["activations"] * (entry["weighting"] != "weights")
        )
        origin = {"own": "from random", "warm": "from W_m"}[entry["origin"]]
        gains = [spread(gain(entry, plain[0], what), "+") for what in ("before", "after")]
        lines.append("| " + " | ".join([origin, entry["method"], *cells(entry, dense)[:1], variant]) + " | ")
        lines[-1] += " | ".join([*cells(entry, dense)[1:3], *gains]) + " |"
    return lines


def verdicts(found: dict[str, Any], origin: str, dense: int) -> list[str]:
    """For each group, whether the best NC-CTD beats TT by more than the spread of seeds."""
    lines = []
    for plain in sorted(of(found, origin=origin, method="tt", weighting="weights"), key=lambda entry: entry["group"]):
        group = of(found, origin=origin, method="ctd", weighting="weights", group=plain["group"], alpha=1.0)
        if not group:
            continue
        best = max(group, key=lambda entry: float(values(entry, "after").mean()))
        gains = gain(best, plain, "after")
        if len(gains) < 2:
            continue
        noise = max(numbers.std(ddof=1) for numbers in (values(best, "after"), values(plain, "after"), gains))
        name = "NC-CTD ({}, {})".format(*best["ranks"])
        beats = "more" if gains.mean() > noise else "not more"
        lines.append(
            f"- CR {ratios(plain, dense)[0]:.1f}: the best of the group, {name}, is {spread(gains, '+')} dB from TT "
            f"(seed by seed {each(gains, '+')}); the spread is {noise:.2f} dB: it gains {beats} than that. "
            f"Dead after fine-tuning: {num_dead(found, best)} of NC-CTD, {num_dead(found, plain)} of TT."
        )
    return lines


def markdown(found: dict[str, Any]) -> str:
    """The whole page."""
    own = found["rows"]["own dense  alpha=0 weights"]
    dense = int(values(own, "weights")[0])
    steps = " / ".join(str(count) for count in found["setting"]["steps"].values())
    setting = {**found["setting"], "steps": steps, "seeds": len(own["seeds"])}
    lines = ["# ISTA-Net+ (N = 5, CS ratio 0.25): PSNR against compression ratio", ""]
    lines += ["    ./run python benchmarks/compression_ista.py", "", REDUCED.format(**setting), ""]
    lines += ["| dense network | weights | PSNR | seed by seed |", "|" + " --- |" * 4]
    start = np.array([value for _, value in sorted(found["linear"].items())])
    lines.append(f"| linear initialisation | 0 | {spread(start)} | {each(start)} |")
    for origin, name in (("shared", "W_m, shared"), ("own", "W_nm from random"), ("warm", "W_nm from W_m")):
        for entry in of(found, method="dense", origin=origin):
            psnr = values(entry, "after")
            lines.append(f"| {name} | {values(entry, 'weights')[0]} | {spread(psnr)} | {each(psnr)} |")
    for origin, title in TITLES.items():
        lines += ["", f"## {title}", "", "NC-CTD with α = 1.", "", *table(found, origin, dense), ""]
        lines += verdicts(found, origin, dense)
    lines += ["", "## Variants", "", "Gains are over the same ranks with α = 1 and plain weights.", ""]
    return "\n".join([*lines, *variants(found, dense)]) + "\n"


def figure(found: dict[str, Any], path: Path) -> None:
    """PSNR against ratio with bars of one standard deviation over seeds; rows with a diverged seed fall below it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    dense = int(values(found["rows"]["own dense  alpha=0 weights"], "weights")[0])
    canvas, panels = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for panel, (origin, title) in zip(panels, TITLES.items(), strict=True):
        for method, colour, label in (("tt", "C0", "TT"), ("ctd", "C3", "NC-CTD, α = 1")):
            alpha = 1.0 if method == "ctd" else 0.0
            entries = of(found, origin=origin, method=method, weighting="weights", alpha=alpha)
            entries.sort(key=lambda entry: ratios(entry, dense)[0])
            for what, marker, alpha_line, suffix in (("after", "o", 1.0, ", fine-tuned"), ("before", "x", 0.5, "")):
                numbers = [values(entry, what) for entry in entries]
                panel.errorbar(
                    [ratios(entry, dense)[0] for entry in entries],
                    [number.mean() for number in numbers],
                    yerr=[number.std(ddof=1) if len(number) > 1 else 0.0 for number in numbers],
                    color=colour,
                    marker=marker,
                    linestyle="-" if method == "tt" else "none",
                    alpha=alpha_line,
                    capsize=3,
                    label=label + suffix,
                )
        for which, style, name in ((origin, "--", "dense W_nm"), ("shared", ":", "dense W_m, shared")):
            for entry in of(found, method="dense", origin=which):
                panel.axhline(values(entry, "after").mean(), color="0.3", linestyle=style, label=name)
        panel.axhline(np.mean(list(found["linear"].values())), color="0.7", linestyle="-.", label="linear")
        panel.set(xscale="log", xlabel="compression ratio ([B] eq. 20)", title=title)
        panel.set_xticks([7, 10, 15, 20, 30, 45], [7, 10, 15, 20, 30, 45])
        panel.minorticks_off()
    panels[0].set(ylabel="PSNR, dB", ylim=(27.5, 30.7))
    panels[0].legend(fontsize=8)
    canvas.savefig(path, dpi=130)
    pyplot.close(canvas)


def write(found: dict[str, Any], results: Path, picture: Path = FIGURE) -> None:
    """Write the Markdown beside the results, and the figure."""
    results.with_suffix(".md").write_text(markdown(found))
    figure(found, picture)
