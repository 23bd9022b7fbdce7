from __future__ import annotations

import random
from typing import Any

_WORDS = """
harbour lighthouse tide ferry anchor gull storm sail oven bread flour yeast crust butter jam spoon
engine gear piston brake wheel clutch rust bolt glacier moraine crevasse ice snow ridge summit rope
"""
WORDS = _WORDS.split()
SHARDS = (2, 4, 8)


def documents(n: int = 320, seed: int = 3) -> list[dict[str, Any]]:
    """Short texts, many of them twice, so that scores are equal."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for i in range(n):
        text = rows[i // 2]["text"] if i % 7 == 3 else " ".join(rng.choices(WORDS, k=rng.randint(4, 12)))
        rows.append(
            {"id": f"d{i}", "text": text, "lang": rng.choice(["de", "en", "fr"]), "year": 1990 + i % 30}
        )
    return rows
