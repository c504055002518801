# SPDX-License-Identifier: MIT
"""report.py: medians, paired ratios, and the tables, in Markdown."""

import statistics

from cases import BASELINES, CASES, GOALS, MEMORY_CASES

TITLES = {case.name: case.title for case in CASES + MEMORY_CASES}
ROLES = {case.name: case.role for case in CASES + MEMORY_CASES}


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def summarize(rounds, baseline):
    """
    The medians of each program's rounds. The ratio to the baseline is taken within each round,
    whose runs are neighbours in time, and the median is that of the ratios.
    """
    result = {}
    for server, runs in rounds.items():
        present = [run for run in runs if run is not None]
        if not present:
            continue
        summary = {key: statistics.median(run[key] for run in present) for key in present[0]}
        # Ticks are coarse: the share of user mode comes from all rounds together.
        ticks = sum(run["user_ticks"] + run["system_ticks"] for run in present)
        share = sum(run["user_ticks"] for run in present) / max(ticks, 1)
        summary["user"] = summary["cpu"] * share
        pairs = zip(runs, rounds.get(baseline, []))
        ratios = [one["cpu"] / other["cpu"] for one, other in pairs if one and other]
        if ratios:
            summary["ratio"] = statistics.median(ratios)
            summary["ratio_low"], summary["ratio_high"] = quartiles(ratios)
        summary["rounds"] = len(present)
        result[server] = summary
    return result


def number(value, digits=None):
    if value is None:
        return "-"
    if digits is None:
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return "{:,.{}f}".format(value, digits)


def table(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def time_tables(times):
    """One table for each case: everything about its rounds."""
    header = ["program", "messages/s", "CPU µs", "user µs", "CPU ratio", "quartiles", "p50 µs",
              "p99 µs", "p99.9 µs", "errors"]  # fmt: skip
    for name, servers in times.items():
        rows = []
        for server, one in servers.items():
            spread = "-"
            if "ratio" in one:
                spread = "%.2f to %.2f" % (one["ratio_low"], one["ratio_high"])
            rows.append(
                [server, number(one["rate"], 0), number(one["cpu"]), number(one["user"])]
                + [number(one.get("ratio"), 2), spread]
                + [number(one.get(key) or None) for key in ("p50", "p99", "p999")]
                + [number(one["errors"], 0)]
            )
        count = max(one["rounds"] for one in servers.values())
        yield "%s (per message, medians of %d rounds)" % (TITLES[name], count), table(header, rows)


def matrix(figures, digits=None):
    """Cases down, servers across; figures[case][server]."""
    servers = []
    for by_server in figures.values():
        servers += [server for server in by_server if server not in servers]
    rows = [
        [TITLES.get(name, name)] + [number(by_server.get(s), digits) for s in servers]
        for name, by_server in figures.items()
    ]
    return table(["case", *servers], rows)


def matrices(title, figures, digits=None):
    """A table for the cases of each role: other programs play other roles."""
    whose = {"server": "", "client": ": clients", "proxy": ": proxies"}
    for role, ending in whose.items():
        of_role = {case: by for case, by in figures.items() if ROLES[case] == role}
        if of_role:
            baseline = "the %s %s" % (BASELINES[role], role)
            yield title.format(baseline=baseline) + ending, matrix(of_role, digits)


def goal_table(results):
    rows = []
    kinds = {
        "ratio": ("CPU ratio", {c: {s: one.get("ratio") for s, one in by.items()}
                                for c, by in results["times"].items()}),
        "calls": ("system calls", totals(results["calls"])),
        "instructions": ("instructions", results["instructions"]),
        "memory": ("memory", results["memory"]),
    }  # fmt: skip
    for kind, case, goal in GOALS:
        title, figures = kinds[kind]
        value = figures.get(case, {}).get("portico")
        if value is None:
            continue
        # As the goal is written: 1.0349 is not above 1.03.
        digits = 2 if isinstance(goal, float) else 1 if goal < 10 else 0
        met = "yes" if round(value, digits) <= goal else "missed by %.0f %%" % (
            100 * (value / goal - 1)
        )
        rows.append([title + ": " + TITLES[case], number(goal, digits), number(value, digits), met])
    return table(["figure", "goal, at most", "portico", "met"], rows) if rows else ""


def totals(calls):
    return {
        case: {server: sum(names.values()) for server, names in by_server.items()}
        for case, by_server in calls.items()
    }


def growth_tables(growth):
    rows = []
    for name, by_size in growth.get("times", {}).items():
        for size, one in by_size.items():
            times = ", ".join("%s %.0f" % (key, value)
                              for key, value in one["nanoseconds"].items())  # fmt: skip
            rows.append([name, number(int(size), 0), times, number(one["instructions"], 0)])
    if rows:
        yield "Growth: timers and callbacks", table(
            ["kind", "how many", "ns each", "instructions each, in all"], rows
        )
    crowds = growth.get("crowds", {})
    if crowds:
        rows = [[number(int(size), 0), number(count, 0)] for size, count in crowds.items()]
        yield "Growth: a connection accepted, served and closed among idle ones", table(
            ["idle connections", "instructions"], rows
        )


def sections(results):
    """Everything that was measured, as pairs of a title and a table."""
    yield from time_tables(results["times"])
    ratios = {
        case: {server: one.get("ratio") for server, one in servers.items()}
        for case, servers in results["times"].items()
    }
    yield from matrices("CPU per message, ratio to {baseline}", ratios, 2)
    yield from matrices("System calls per message", totals(results["calls"]), 2)
    yield from matrices("User-space instructions per message", results["instructions"], 0)
    if results["memory"]:
        yield "Memory", matrix(results["memory"], 0)
    yield from growth_tables(results["growth"])
    goals = goal_table(results)
    if goals:
        yield "Goals", goals


def text_of(results):
    """All of it in Markdown."""
    lines = ["- %s: %s" % item for item in results["machine"].items()] + [""]
    for title, text in sections(results):
        lines += ["### " + title, "", text]
    lines += ["- not measured: %s: %s" % failure for failure in results["failures"]]
    return "\n".join(lines).rstrip() + "\n"


def write_into(file, text):
    """Replaces what follows the document's heading `Results`, which is its last."""
    heading = "## Results\n"
    with open(file) as old:
        before = old.read().split(heading)[0]
    with open(file, "w") as new:
        new.write(before + heading + "\n" + text)
