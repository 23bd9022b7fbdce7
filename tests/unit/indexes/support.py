"""Token embeddings to test with, and a slow MaxSim of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from lfm2_retrieval import TokenEmbeddings

DIM = 16
ROOT = Path(__file__).parents[3]


def start(code, *arguments):
    """Run code in a process of its own that can import the library and this module."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def embeddings(lengths, dim=DIM, seed=0, dtype=np.float32, token_ids=False):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((sum(lengths), dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenEmbeddings(
        vectors.astype(dtype),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        rng.integers(0, 1000, sum(lengths)) if token_ids else None,
    )


def naive_maxsim(query, document):
    """float64 MaxSim on what an fp16 index stores of a document."""
    stored = np.asarray(document).astype(np.float16).astype(np.float64)
    return float(
        np.float32((np.asarray(query).astype(np.float32).astype(np.float64) @ stored.T).max(1).sum())
    )


def naive_search(query, documents, k):
    """``documents``: (id, vectors) in order of insertion → (id, score), best first."""
    scored = [(id, naive_maxsim(query, vectors)) for id, vectors in documents if len(vectors)]
    return sorted(scored, key=lambda pair: -pair[1])[:k] if len(query) else []


def pairs(hits):
    return [(hit.id, hit.score) for hit in hits]
