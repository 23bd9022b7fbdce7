"""The routes: what they answer, and with what they refuse."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.documents import Passages
from lfm2_retrieval.errors import IndexWriteError
from lfm2_retrieval.server import KeyFile, ServerOptions, create_app
from lfm2_retrieval.server.service import Service

Serve = Callable[..., TestClient]


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    values = answer.json()
    assert values["status"] == status
    assert values["type"].startswith("urn:lfm2-retrieval:")
    assert values["title"]
    assert values["detail"]
    return dict(values)


def test_a_search_finds_what_the_retriever_finds(serve: Serve, retriever: Retriever) -> None:
    client = serve()
    answer = client.post("/v1/search", json={"query": "quick fox", "k": 3, "explain": True})
    assert answer.status_code == 200
    assert answer.json()["hits"] == json.loads(
        json.dumps(retriever.search("quick fox", 3, explain=True).to_dicts())
    )
    assert answer.headers["x-commit"] == str(retriever.store.commit)


def test_several_queries_give_a_list_each(serve: Serve) -> None:
    answer = serve().post("/v1/search", json={"query": ["quick fox", "  ", "Käse"], "k": 1, "text": False})
    results = answer.json()["results"]
    assert [one["query"] for one in results] == ["quick fox", "  ", "Käse"]
    assert [len(one["hits"]) for one in results] == [1, 0, 1]
    assert "text" not in results[0]["hits"][0]


@pytest.mark.parametrize(
    ("extra", "ids"),
    [
        ({"where": {"lang": "de"}}, ["brot/käse#1"]),
        ({"where": "year < 2000"}, ["rain"]),
        ({"mode": "lexical", "query": "fox"}, ["fox"]),
        ({"mode": "hybrid", "query": "hills", "where": {"lang": "en"}, "k": 1}, ["rain"]),
        ({"group_by": "lang", "where": {"lang": "de"}}, ["brot/käse#1"]),
    ],
)
def test_options_of_a_search(serve: Serve, extra: dict[str, Any], ids: list[str]) -> None:
    answer = serve().post("/v1/search", json={"query": "rain", **extra})
    assert [hit["id"] for hit in answer.json()["hits"]] == ids


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        ({}, 422, "query"),
        ({"query": 3}, 422, "query"),
        ({"query": "a", "k": 0}, 422, "k"),
        ({"query": "a", "k": 10**9}, 422, "k"),
        ({"query": "a", "k": 10**40}, 422, "k"),
        ({"query": "a", "k": True}, 422, "k"),
        ({"query": "a", "limit": 3}, 422, "limit"),
        ({"query": "a", "where": {"$nor": 3}}, 422, "$nor"),
        ({"query": "a", "where": "lang = "}, 422, "lang"),
        ({"query": "a", "mode": "magic"}, 422, "mode"),
        ({"query": "a" * 20_000}, 413, "16,384"),
        ({"query": ["a"] * 65}, 413, "64"),
        ([], 422, ""),
    ],
)
def test_bad_searches_say_what_is_wrong(serve: Serve, body: Any, status: int, names: str) -> None:
    assert names in problem(serve().post("/v1/search", json=body), status)["detail"]


MANY = {f"field {n}": 1 for n in range(1000)}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/search", {"query": [1] * 1000}),
        ("/v1/search", {"query": "x", **MANY}),
        ("/v1/search", {"query": "x", "y" * 100_000: 1}),
        ("/v1/rerank", {"query": "x", "documents": [1] * 1000}),
        ("/v1/embeddings", {"input": [None] * 1000}),
        ("/v1/get", {"ids": [1] * 1000}),
        ("/v1/documents", {"documents": [1] * 1000}),
        ("/v1/documents", {"documents": [{"text": "x", **MANY}] * 10}),
        ("/v1/delete", {"ids": [[]] * 1000}),
    ],
)
def test_the_first_mistake_of_many_is_told(serve: Serve, path: str, body: Any) -> None:
    answer = serve(key="write", writable=True).post(path, json=body)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) <= 2  # one of either form of what may have two
    assert len(answer.content) < 2000


def test_a_number_beyond_floats_can_be_shown(serve: Serve, retriever: Retriever) -> None:
    retriever.add([{"id": "large", "text": "a large number", "size": 10**400}])
    client = serve()
    assert client.post("/v1/search", json={"query": "a large number", "k": 9}).status_code == 200
    assert client.get("/v1/documents/large").json()["metadata"]["size"] == 10**400
    assert client.get("/v1/index").status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"query": "a"', b"\xff\xfe", b"[" * 100_000, b'{"query": NaN}', b"null"]
)
def test_malformed_json_is_the_clients_fault(serve: Serve, body: bytes) -> None:
    answer = serve().post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_deep_filter_is_refused(serve: Serve) -> None:
    where = '{"$and": [' * 2000 + '{"lang": "en"}' + "]}" * 2000
    body = f'{{"query": "a", "where": {where}}}'
    answer = serve().post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_types_than_json_are_refused(serve: Serve, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    problem(serve().post("/v1/search", content=b'{"query": "a"}', headers=headers), 415)


def test_half_characters_come_back(serve: Serve) -> None:
    answer = serve(key="write", writable=True).post(
        "/v1/documents",
        content=b'{"documents": [{"id": "half", "text": "x \\ud83e y"}]}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in (200, 422)


def test_rerank_answers_as_others_do(serve: Serve, retriever: Retriever) -> None:
    texts = ["bread", "", "the quick brown fox", "rain falls"]
    client = serve()
    answer = client.post(
        "/v1/rerank",
        json={"query": "quick fox", "documents": texts, "top_n": 3, "model": "some", "max_chunks_per_doc": 3},
    )
    results = answer.json()["results"]
    expected = [int(hit.id) for hit in retriever.rerank("quick fox", texts)]
    assert [one["index"] for one in results] == expected
    scores = [one["relevance_score"] for one in results]
    assert scores == sorted(scores, reverse=True)
    whole = client.post(
        "/v1/rerank",
        json={"query": "q", "documents": [{"text": "a", "id": 3}, "b"], "return_documents": True},
    ).json()
    assert {one["document"]["text"] for one in whole["results"]} == {"a", "b"}


def test_rerank_gives_every_text_a_place(serve: Serve) -> None:
    results = serve().post("/v1/rerank", json={"query": " ", "documents": ["a", " "]}).json()["results"]
    assert [(one["index"], one["relevance_score"]) for one in results] == [(0, 0.0), (1, 0.0)]


def test_embeddings_are_the_encoders(serve: Serve, retriever: Retriever) -> None:
    client = serve()
    for kind, encode in (
        ("query", retriever.encoder.encode_queries),
        ("document", retriever.encoder.encode_documents),
    ):
        values = client.post("/v1/embeddings", json={"input": ["a fox", "rain"], "input_type": kind}).json()
        found = encode(["a fox", "rain"])
        assert [one["vectors"] for one in values["data"]] == [one.tolist() for one in found]
        assert values["dim"] == found.dim


def test_documents_are_listed_by_the_page(serve: Serve, retriever: Retriever) -> None:
    client = serve()
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/documents", params={"limit": 2, **cursor}).json()
        seen += [one["id"] for one in page["documents"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == retriever.ids()
    some = client.get("/v1/documents", params={"where": '{"lang": "en"}', "limit": 1}).json()
    assert [one["id"] for one in some["documents"]] == ["rain"]
    rest = client.get(
        "/v1/documents", params={"where": "lang = 'en'", "limit": 5, "cursor": some["next_cursor"]}
    ).json()
    assert [one["id"] for one in rest["documents"]] == ["fox", "emoji"]
    for bad in ("x", "-1", "9" * 30, "٣"):
        problem(client.get("/v1/documents", params={"cursor": bad}), 422)
    problem(client.get("/v1/documents", params={"where": "{"}), 422)
    problem(client.get("/v1/documents", params={"limit": 0}), 422)


def test_a_document_under_any_id(serve: Serve) -> None:
    client = serve()
    for id in ("rain", "brot/käse#1"):
        assert client.get(f"/v1/documents/{quote(id, safe='')}").json()["id"] == id
    for id in ("../../etc/passwd", "nothing", "%00", "a" * 3000):
        problem(client.get(f"/v1/documents/{quote(id, safe='')}"), 404)


def test_an_unchanged_index_is_not_sent_again(serve: Serve, retriever: Retriever) -> None:
    client = serve()
    first = client.get("/v1/documents/rain")
    again = client.get("/v1/documents/rain", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    retriever.add([{"id": "new", "text": "new"}])
    changed = client.get("/v1/documents/rain", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


def test_an_answer_is_named_by_a_commit_that_is_not_newer_than_it(
    serve: Serve, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, before = Service.documents, retriever.store.commit

    def overtaken(service: Service, asked: Any) -> dict[str, Any]:
        values = read(service, asked)
        retriever.add([{"id": "late", "text": "late"}])
        return values

    monkeypatch.setattr(Service, "documents", overtaken)
    client = serve()
    first = client.get("/v1/documents")
    assert "late" not in [one["id"] for one in first.json()["documents"]]
    assert (first.headers["x-commit"], first.json()["commit"]) == (str(before), before)
    monkeypatch.setattr(Service, "documents", read)
    again = client.get("/v1/documents", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 200
    assert "late" in [one["id"] for one in again.json()["documents"]]


def test_what_the_index_holds(serve: Serve) -> None:
    values = serve().get("/v1/index").json()
    assert (values["documents"], values["fields"], values["writable"]) == (5, ["lang"], False)
    fields = {one["name"]: {v["value"]: v["count"] for v in one["values"]} for one in values["values"]}
    assert fields["lang"] == {"en": 3, "de": 1, "xx": 1}


def test_passages_of_a_document(serve: Serve, retriever: Retriever) -> None:
    client = serve()
    [hit] = client.post("/v1/passages", json={"id": "rain", "query": "quiet hills"}).json()["hits"]
    [wanted] = retriever.rerank("quiet hills", ids=["rain"], explain=True)
    assert (hit["id"], hit["score"]) == ("rain", wanted.score)
    assert hit["matches"]
    problem(client.post("/v1/passages", json={"id": "none", "query": "a"}), 404)


def test_passages_of_a_split_document(server_model: Encoder, keys: KeyFile) -> None:
    text = "# Tea\n\nTea is a drink.\n\n# Bread\n\n" + "Dough rises by yeast. " * 40
    passages = Passages(tokens=24)
    with (
        Retriever.index([{"id": "doc", "text": text}], model=server_model, passages=passages) as split,
        TestClient(create_app(split), base_url="http://localhost") as client,
    ):
        assert client.get("/v1/index").json()["documents"] == 1
        assert client.get("/v1/documents").json()["documents"][0]["text"] == text
        hits = client.post("/v1/passages", json={"id": "doc", "query": "yeast", "k": 3}).json()["hits"]
        assert len(hits) == 3
        for hit in hits:
            start, end = hit["span"]
            assert text[start:end] == hit["text"]
        found = client.post("/v1/search", json={"query": "yeast", "by": "document"}).json()["hits"]
        assert [one["document_id"] for one in found] == ["doc"]


def test_writing_is_not_there_unless_asked_for(serve: Serve) -> None:
    client = serve(key="write")
    problem(client.post("/v1/documents", json={"documents": []}), 405)
    problem(client.delete("/v1/documents/rain"), 405)


def test_documents_are_added_changed_and_deleted(serve: Serve, retriever: Retriever) -> None:
    client = serve(key="write", writable=True)
    added = client.post(
        "/v1/documents", json={"documents": [{"id": "a", "text": "new"}, {"text": "numbered"}]}
    )
    assert added.json()["added"] == 2
    problem(client.post("/v1/documents", json={"documents": [{"id": "a", "text": "again"}]}), 409)
    replaced = client.post(
        "/v1/documents", json={"documents": [{"id": "a", "text": "again"}], "on_conflict": "replace"}
    ).json()
    assert (replaced["changed"], replaced["commit"]) == (1, retriever.store.commit)
    changed = client.patch("/v1/documents", json={"documents": [{"id": "a", "metadata": {"x": 1}}]})
    assert changed.json()["changed"] == 1
    assert client.get("/v1/documents/a").json() == {"id": "a", "text": "again", "metadata": {"x": 1}}
    problem(client.patch("/v1/documents", json={"documents": [{"id": "none", "text": "x"}]}), 404)
    assert client.delete("/v1/documents/a").json()["deleted"] == 1
    problem(client.delete("/v1/documents/a"), 404)
    assert client.post("/v1/delete", json={"where": {"lang": "en"}}).json()["deleted"] == 3
    problem(client.post("/v1/delete", json={}), 422)
    problem(client.post("/v1/delete", json={"where": {}}), 422)


def test_files_are_read_and_replaced(serve: Serve, retriever: Retriever) -> None:
    client = serve(key="write", writable=True)
    sent = client.post(
        "/v1/files",
        files=[("files", ("notes.md", b"# Tea\n\nTea is a drink.")), ("files", ("../../evil.txt", b"dots"))],
    )
    assert sent.status_code == 200, sent.text
    assert sent.json()["added"] == 2
    assert {"notes.md", "evil.txt"} <= set(retriever.ids())
    assert client.post("/v1/files", files=[("files", ("evil.txt", b"other"))]).json()["changed"] == 1
    problem(client.post("/v1/files", files=[("files", ("broken.pdf", b"%PDF-1.7 nothing"))]), 422)
    problem(client.post("/v1/files", files=[("files", ("a.md", b"a")), ("files", ("a.md", b"b"))]), 422)
    problem(client.post("/v1/files", files=[("files", ("..", b"a"))]), 422)


@pytest.mark.parametrize("passages", ["none", "auto"])
def test_nothing_tells_where_an_upload_lay(server_model: Encoder, keys: KeyFile, passages: Any) -> None:
    secret, _ = keys.add("test", write=True)
    options = ServerOptions(writable=True, keys=str(keys.path))
    with (
        Retriever.index(["rain"], model=server_model, passages=passages) as retriever,
        TestClient(create_app(retriever, options), base_url="http://localhost") as client,
    ):
        client.headers["X-API-Key"] = secret
        sent = [("files", ("notes.md", b"# Tea\n\nTea is a drink.")), ("files", ("t.csv", b"text\none\ntwo"))]
        assert client.post("/v1/files", files=sent).json()["added"] == 3
        assert client.post("/v1/files", files=sent).json()["unchanged"] == 3
        body = {"query": "tea is a drink", "k": 100}
        assert "lfm2-upload" not in client.post("/v1/search", json=body).text
        assert "lfm2-upload" not in client.post("/v1/list", json={}).text
        wrong = client.post("/v1/files", files=[("files", ("broken.pdf", b"%PDF-1.7 nothing"))])
        assert problem(wrong, 422)["detail"].startswith("broken.pdf")


@pytest.mark.parametrize("charset", ["unicode_escape", "raw_unicode_escape", "undefined", "idna", "punycode"])
def test_a_form_names_files_in_any_encoding(serve: Serve, charset: str) -> None:
    body = (
        b'--X\r\nContent-Disposition: form-data; name="files"; filename="a\\ud800.md"\r\n\r\nx\r\n--X--\r\n'
    )
    kind = f"multipart/form-data; boundary=X; charset={charset}"
    answer = serve(key="write", writable=True).post("/v1/files", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (200, 400)


def test_only_keys_that_may_write_do(serve: Serve) -> None:
    client = serve(key="write", writable=True)
    secret = client.headers.pop("Authorization")
    problem(client.post("/v1/documents", json={"documents": []}), 401)
    assert client.get("/v1/index", headers={"Authorization": secret}).json()["writable"] is True


def test_a_full_disk_says_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Service, asked: object) -> None:
        raise IndexWriteError("no space in /secret/path") from OSError(28, "No space left on device")

    monkeypatch.setattr(Service, "add", fail)
    answer = problem(serve(key="write", writable=True).post("/v1/documents", json={"documents": []}), 507)
    assert "/secret/path" not in answer["detail"]


def test_a_closed_index_is_unavailable(serve: Serve, retriever: Retriever) -> None:
    client = serve()
    assert client.get("/v1/ready").status_code == 200
    retriever.close()
    problem(client.post("/v1/search", json={"query": "a"}), 503)
    problem(client.get("/v1/ready"), 503)
    assert client.get("/v1/health").status_code == 200
    assert client.get("/v1/metrics").status_code == 200


def test_an_unexpected_error_tells_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Service, asked: object) -> None:
        raise RuntimeError("a text of a document")

    monkeypatch.setattr(Service, "search", fail)
    assert "text" not in problem(serve().post("/v1/search", json={"query": "a"}), 500)["detail"]


def test_searches_of_many_at_once_are_all_right(serve: Serve, retriever: Retriever) -> None:
    client = serve()
    queries = [f"{word} {number}" for number in range(8) for word in ("fox", "rain", "Käse", "wine")]
    wanted = [[(hit.id, hit.score) for hit in retriever.search(query, 2)] for query in queries]
    retriever.encoder.forget_queries()

    def ask(query: str) -> list[tuple[str, float]]:
        hits = client.post("/v1/search", json={"query": query, "k": 2}).json()["hits"]
        return [(hit["id"], hit["score"]) for hit in hits]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, queries))
    for one, other in zip(found, wanted, strict=True):
        assert [id for id, _ in one] == [id for id, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], rel=1e-5)


def test_too_many_waiting_are_told_to_come_back(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(concurrency=1, waiting=0)
    entered, leave = threading.Event(), threading.Event()

    def slow(self: Service, asked: object) -> dict[str, Any]:
        entered.set()
        leave.wait(60)
        return {"hits": []}

    monkeypatch.setattr(Service, "search", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/search", json={"query": "a"})
        assert entered.wait(60)
        refused = client.post("/v1/search", json={"query": "b"})
        assert problem(refused, 503)["detail"]
        assert refused.headers["retry-after"]
        leave.set()
        assert first.result().status_code == 200


def test_what_takes_too_long_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()
    monkeypatch.setattr(Service, "search", lambda self, asked: {"hits": [leave.wait(60)]})
    client = serve(timeout=0.2)
    problem(client.post("/v1/search", json={"query": "a"}), 503)
    leave.set()


def test_metrics_count_by_route(serve: Serve) -> None:
    client = serve()
    client.post("/v1/search", json={"query": "a"})
    client.get("/v1/documents/some-secret-id")
    text = client.get("/v1/metrics").text
    assert 'lfm2_requests_total{method="POST",route="/v1/search",status="200"} 1.0' in text
    assert "some-secret-id" not in text
    assert "lfm2_documents 5.0" in text


def test_the_page_and_what_it_loads(serve: Serve) -> None:
    client = serve()
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    total = len(page.content)
    for name in ("page.js", "style.css", "icon.svg"):
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        total += len(answer.content)
        again = client.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    assert total < 100_000
    assert "http" not in page.text.replace("http-equiv", "")
    for name in ("..%2fapp.py", "app.py", "%2e%2e/keys.py"):
        problem(client.get(f"/static/{name}"), 404)


def test_a_wrong_method_is_told_the_right_ones(serve: Serve) -> None:
    answer = serve(key="write", writable=True).put("/v1/documents")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, PATCH, POST"


def test_the_openapi_describes_problems_and_examples(serve: Serve) -> None:
    values = serve(key="write", writable=True).get("/openapi.json").json()
    assert "HTTPValidationError" not in values["components"]["schemas"]
    assert values["paths"]["/v1/search"]["post"]["responses"]["422"]["content"].keys() == {
        "application/problem+json"
    }
    assert values["components"]["schemas"]["SearchRequest"]["examples"]


def test_no_text_of_documents_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    client = serve(key="write", writable=True)
    client.post("/v1/documents", json={"documents": [{"id": "s", "text": "a very secret text"}]})
    client.post("/v1/documents", json={"documents": [{"id": "s", "text": "a very secret text"}]})
    client.post("/v1/search", json={"query": "a very secret text"})
    assert "secret" not in caplog.text


def test_uploads_leave_nothing_behind(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    client = serve(key="write", writable=True)
    client.post("/v1/files", files=[("files", ("a.txt", b"a"))])
    assert list(folder.iterdir()) == []
