"""Draws what a run of locust recorded: requests a second, and times, over the run."""

import csv
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

results = pathlib.Path(sys.argv[1])
with open(results / "report_stats_history.csv", newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["Name"] == "Aggregated" and row["50%"] != "N/A"]
began = int(rows[0]["Timestamp"])
seconds = [int(row["Timestamp"]) - began for row in rows]


def figure(name, label, series):
    plt.rcParams["svg.hashsalt"] = name
    _, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
    for title, column in series:
        axes.plot(seconds, [float(row[column]) for row in rows], label=title, linewidth=1.2)
    axes.set_xlabel("seconds")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", ncols=len(series), frameon=False)
    plt.savefig(results / f"{name}.svg", metadata={"Date": None})
    plt.close()


figure("requests", "requests/s", [("answered", "Requests/s"), ("not as expected", "Failures/s")])
figure("times", "ms", [("50 %", "50%"), ("95 %", "95%"), ("99 %", "99%")])
