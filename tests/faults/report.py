"""Where the campaigns leave their figures: a JSON file each, in a folder named by ``LFM2_RETRIEVAL_FAULTS``."""

import json
import os
from pathlib import Path


def report(name, figures):
    """Keep the figures of one campaign."""
    folder = os.environ.get("LFM2_RETRIEVAL_FAULTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(name, json.dumps(figures))
