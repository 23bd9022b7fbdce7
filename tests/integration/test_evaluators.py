"""Our scores held to the evaluators of sentence-transformers and PyLate."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest
import torch

pytest.importorskip("ir_measures")
pytest.importorskip("pyarrow")

from pylate_evaluator import DIM, RECORDED, make, vectors
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.evaluation import (
    MultiVectorInformationRetrievalEvaluator,
    MultiVectorNanoBEIREvaluator,
)
from sentence_transformers.util.similarity import maxsim
from small_sets import parquet_parts, write_nanobeir

from lfm2_retrieval import Encoder
from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.evaluation import Dataset, DatasetRef, Settings, from_folder, load_suite, run_suite
from lfm2_retrieval.evaluation.compat import Compat

THEIRS = {
    "nDCG@10": "ndcg@10",
    "nDCG@100": "ndcg@100",
    "R@10": "recall@10",
    "R@20": "recall@20",
    "R@100": "recall@100",
    "MRR@10": "mrr@10",
    "MAP": "map@100",
    "Success@1": "accuracy@1",
}
DEPTHS = {
    "ndcg_at_k": [10, 100],
    "precision_recall_at_k": [10, 20, 100],
    "mrr_at_k": [10],
    "map_at_k": [100],
    "accuracy_at_k": [1],
    "write_csv": False,
}


class OurVectors:
    """Our encoder with the face of a MultiVectorEncoder, as far as the evaluators look."""

    similarity_fn_name = "maxsim"
    prompts = None

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def encode_query(self, texts, **_):
        return [torch.from_numpy(one.copy()) for one in self.encoder.encode_queries(list(texts))]

    def encode_document(self, texts, **_):
        half = self.encoder.encode_documents(list(texts), output="float16")  # as an index stores them
        return [torch.from_numpy(one.astype("float32")) for one in half]


def ours(refs, encoder, out, compat=Compat.SENTENCE_TRANSFORMERS):
    content = run_suite(
        refs,
        encoder,
        out,
        Settings(compat=compat),
        suite={"name": "oracle", "title": "Oracle", "published": []},
    )
    return {(cell["task"], cell["documents"]): cell["measures"] for cell in content["cells"]}, content


@pytest.mark.parametrize("language", ["en", "de"])
def test_nano_scores_as_in_their_evaluator(tmp_path, language):
    (ref,) = load_suite("demo").refs(languages=[language])
    dataset = ref.load()
    encoder = Encoder.load("nano")
    measured, _ = ours([ref], encoder, tmp_path)
    evaluator = MultiVectorInformationRetrievalEvaluator(
        dict(dataset.queries),
        dict(dataset.documents),
        {query: {id for id, grade in grades.items() if grade > 0} for query, grades in dataset.qrels.items()},
        score_functions={"maxsim": maxsim},
        **DEPTHS,
    )
    theirs = evaluator.compute_metrices(OurVectors(encoder))["maxsim"]
    found = {f"{name}@{k}": value for key, values in theirs.items() for name, k, value in parts(key, values)}
    for name, value in measured["demo", language].items():
        assert value == pytest.approx(found[THEIRS[name]], abs=1e-6), name


def parts(key, values):
    """``{"ndcg@k": {10: 0.5}}`` as names, depths and values."""
    return [(key.removesuffix("@k"), k, value) for k, value in values.items()]


def test_nanobeir_scores_as_in_their_evaluator_with_their_encoder(checkpoint, tmp_path, monkeypatch):
    folder = checkpoint(
        settings={"do_query_expansion": False}
    )  # expansion differs between versions by itself
    data = write_nanobeir(tmp_path / "data", "sentence-transformers", languages=("en",))
    measured, content = ours(from_folder(data), Encoder.load(folder), tmp_path / "out")
    monkeypatch.setattr(
        MultiVectorNanoBEIREvaluator,
        "_load_dataset_subset_split",
        lambda self, subset, split, required_columns: parquet_parts("en")[subset],
    )
    evaluator = MultiVectorNanoBEIREvaluator(dataset_names=["nq", "scifact"], **DEPTHS)
    model = MultiVectorEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = evaluator(model)
    for (task, _), measures in measured.items():
        for name, value in measures.items():
            assert value == pytest.approx(theirs[f"{task}_maxsim_{THEIRS[name]}"], abs=1e-6), (task, name)
    (mean,) = content["means"]
    for name, value in mean["measures"].items():
        assert value == pytest.approx(theirs[f"NanoBEIR_mean_maxsim_{THEIRS[name]}"], abs=1e-6)


class FixedVectors:
    """An encoder that gives every text the vectors that PyLate's evaluator was given."""

    name, revision, fingerprint, dim = "fixed", None, "0" * 32, DIM
    dtype, device = torch.float32, torch.device("cpu")
    identity: ClassVar = {"name": name, "revision": revision, "fingerprint": fingerprint, "dim": dim}

    def encode_documents(self, texts, *, output="float32", on_cut=None):
        parts = [vectors(text).astype(output) for text in texts]
        return TokenEmbeddings(np.concatenate(parts), np.cumsum([0, *map(len, parts)]))

    def encode_queries(self, texts, *, on_cut=None):
        return self.encode_documents(texts)

    def document_spans(self, text):
        return np.zeros((len(vectors(text)), 2), np.int32)

    def forget_queries(self):
        pass


def test_scores_are_those_that_pylates_evaluator_gave(tmp_path):
    dataset = Dataset("odd", "en", *make())
    encoder = FixedVectors()
    ref = DatasetRef("odd", "en", lambda: dataset)
    measured, content = ours([ref], encoder, tmp_path / "pylate", Compat.PYLATE)
    recorded = json.loads(RECORDED.read_text())["scores"]
    for name, value in measured["odd", "en"].items():
        assert value == pytest.approx(recorded[THEIRS[name]], abs=1e-9), name
    assert content["cells"][0]["n_queries"] == 27
    others, _ = ours([ref], encoder, tmp_path / "other")
    assert others["odd", "en"]["nDCG@10"] != pytest.approx(recorded["ndcg@10"], abs=1e-3)
    plain, _ = ours([ref], encoder, tmp_path / "plain", None)
    assert plain["odd", "en"]["nDCG@10"] != pytest.approx(others["odd", "en"]["nDCG@10"], abs=1e-3)
