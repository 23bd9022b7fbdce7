"""Writes ``examples/harbour``, the folder of mixed files of the tutorial: python make_harbour.py."""

from __future__ import annotations

import json
from pathlib import Path

from made_files import docx, eml, html, pdf, xlsx

FOLDER = Path(__file__).parents[3] / "examples/harbour"

GUIDE = """---
title: Harbour guide
year: 2026
---
# Arriving

Call the harbour office on channel 12 before you pass the outer light. Wait for two green lights at the
entrance; one red light means that a ferry is leaving.

# Berths

Visitors lie at the east quay. A berth is held until six in the evening, and then given to whoever waits.

## Fees

A boat of up to ten metres pays 18 euros a night, and a longer one 27. Water is included, electricity is not.

# Storms

From wind force 8 on, the storm gate is closed. It takes forty minutes to open again.
"""
CODE = '''"""Tides by the rule of twelfths."""


def height_after(hours: float, low: float, high: float) -> float:
    """The height of the water some hours after low tide, in metres."""
    twelfths = (0, 1, 3, 6, 9, 11, 12)
    whole = min(int(hours), 5)
    part = twelfths[whole] + (twelfths[whole + 1] - twelfths[whole]) * (hours - whole)
    return low + (high - low) * part / 12


def is_deep_enough(depth: float, draught: float, reserve: float = 0.5) -> bool:
    """Whether a boat may pass the bar at the entrance."""
    return depth >= draught + reserve
'''
LOG = """date,boat,report
2026-03-02,Alma,Dragged her anchor in the night and was towed to the east quay by the pilot
2026-03-09,Brise,Lost a propeller blade on a drifting log near the outer light
2026-03-17,Corvus,Diver found the crack in the rudder that had made her steer to port
"""
PAGE = (
    "<h1>Ferry to Odra</h1><p>The ferry leaves at seven in the morning and at four in the afternoon, "
    "and does not sail on Sundays in winter.</p>"
    "<h2>Bicycles</h2><p>Bicycles travel free of charge; bring a strap.</p>"
)
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "markdown",
            "source": ["# Silting of the basin\n", "\n", "Soundings of the last four years."],
        },
        {
            "cell_type": "code",
            "source": "depths = {2023: 4.1, 2024: 3.9, 2025: 3.6, 2026: 3.4}",
            "outputs": [],
        },
        {
            "cell_type": "markdown",
            "source": ["The basin loses about 23 centimetres a year and has to be dredged by 2028."],
        },
    ],
    "metadata": {"kernelspec": {"language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for cell in NOTEBOOK["cells"]:
        cell["metadata"] = {}
        if cell["cell_type"] == "code":
            cell["execution_count"] = None
    files = {
        "guide.md": GUIDE.encode(),
        "tides.py": CODE.encode(),
        "incidents.csv": LOG.encode(),
        "silting.ipynb": json.dumps(NOTEBOOK, indent=1).encode(),
        "ferry.html": html("Ferry to Odra", PAGE),
        "contract.docx": docx(
            [
                ("Heading1", "Crane contract"),
                ("Normal", "The crane lifts boats of up to twelve tonnes."),
                ("Heading1", "Notice"),
                (
                    "Normal",
                    "Either side may end the contract with three months' notice to the end of a year.",
                ),
            ]
        ),
        "berths.xlsx": xlsx(
            {
                "East quay": [["berth", "metres", "owner"], ["E1", 9, "free"], ["E2", 12, "pilot boat"]],
                "West quay": [["berth", "metres", "owner"], ["W1", 8, "Alma"], ["W2", 15, "fire boat"]],
            }
        ),
        "survey.pdf": pdf(
            [
                ["Survey of the north mole", "The mole was built in 1911 of granite blocks."],
                ["Findings", "Under the lamp the foundation is washed out over a length of six metres."],
            ]
        ),
        "mail.eml": eml(
            "Broken lamp", "The lamp at the end of the mole has been dark since Tuesday.\n\nIvo\n"
        ),
    }
    for name, data in files.items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
