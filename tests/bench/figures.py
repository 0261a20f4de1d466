"""The figures of a bench, and how they are printed."""

import statistics


class Figures:
    """One list of samples for each line of the table and each subject, in order of first appearance."""

    def __init__(self):
        self.rows = {}

    def add(self, row, subject, value):
        self.rows.setdefault(row, {}).setdefault(subject, []).append(value)

    def show(self, names):
        print(f"\n{'':58}" + "".join(f"{name:>28}" for name in names) + (f"{'ratio':>9}" if len(names) == 2 else ""))
        for row, samples in self.rows.items():
            cells = "".join(f"{cell(samples.get(name)):>28}" for name in names)
            print(f"{row:58}{cells}{ratio(samples, names):>9}")


def cell(values):
    if not values:
        return "-"
    text = number(statistics.median(values))
    if len(values) > 1:
        text += f" ({number(min(values))}..{number(max(values))})"
    return text


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def ratio(samples, names):
    medians = [statistics.median(samples[name]) for name in names if samples.get(name)]
    return f"{medians[0] / medians[1]:.3g}" if len(names) == len(medians) == 2 and medians[1] else ""
