"""A collection in shards behind the HTTP API, the command line and integrations."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner
from distributed_support import documents

from lfm2_retrieval.cli import main
from lfm2_retrieval.distributed import Manifest, ShardedRetriever
from lfm2_retrieval.searchable import Searchable, Writable


def test_it_is_what_integrations_ask_for(sharded):
    assert isinstance(sharded, Searchable)
    assert isinstance(sharded, Writable)
    assert "bread" in sharded.as_tool()(query="bread and butter")
    sharded.warm_up()


def test_the_http_api_serves_it(collections, tmp_path):
    pytest.importorskip("fastapi", reason="the extra server is not installed")
    from starlette.testclient import TestClient

    from lfm2_retrieval.server import KeyFile, ServerOptions, create_app

    shutil.copytree(collections[2], tmp_path / "collection")
    keys = KeyFile(tmp_path / "keys.json")
    secret, _ = keys.add("test", write=True)
    options = ServerOptions(keys=str(keys.path), writable=True, model="nano", allow_partial=True)
    header = {"Authorization": f"Bearer {secret}"}
    with TestClient(create_app(tmp_path / "collection", options), base_url="http://localhost:8000") as client:
        client.headers.update(header)
        described = client.get("/v1/index").json()
        assert (described["documents"], described["tier"], described["model"]) == (320, "exact", "nano")
        answer = client.post("/v1/search", json={"query": "bread and butter", "k": 3}).json()
        assert len(answer["hits"]) == 3
        assert "missing_shards" not in answer
        rows = [{"id": "late", "text": "a loaf of bread"}]
        assert client.post("/v1/documents", json={"documents": rows}).json()["added"] == 1
        assert client.get("/v1/documents/late").json()["text"] == "a loaf of bread"
        listed = client.get("/v1/documents", params={"limit": 5}).json()
        assert [one["id"] for one in listed["documents"]] == [f"d{i}" for i in range(5)]
        more = client.get("/v1/documents", params={"limit": 2, "cursor": listed["next_cursor"]}).json()
        assert [one["id"] for one in more["documents"]] == ["d5", "d6"]
        assert client.request("DELETE", "/v1/documents/late").json()["deleted"] == 1
        assert client.get("/v1/ready").status_code == 200
    shutil.rmtree(tmp_path / "collection" / "shard-00001")
    with TestClient(create_app(tmp_path / "collection", options), base_url="http://localhost:8000") as client:
        client.headers.update(header)
        answer = client.post("/v1/search", json={"query": "bread and butter", "k": 3})
        assert answer.json()["missing_shards"] == ["shard-00001"]
        commit = answer.headers["x-commit"]
        assert not answer.headers["etag"].endswith(f'-{commit}"')  # a whole answer may have that number, too


def test_the_command_line_makes_shards_and_other_numbers_of_them(tmp_path, nano):
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, documents(60))))
    run = CliRunner().invoke
    made = run(
        main, ["index", str(tmp_path / "c"), str(tmp_path / "rows.jsonl"), "--shards", "3", "--model", "nano"]
    )
    assert made.exit_code == 0, made.output
    assert "holds 60 in 3 shards" in made.output
    again = run(main, ["reshard", str(tmp_path / "c"), str(tmp_path / "c2"), "--shards", "2", "--json"])
    assert json.loads(again.stdout)["documents_in_index"] == 60
    assert len(Manifest.read(tmp_path / "c2").shards) == 2
    with ShardedRetriever.open(tmp_path / "c2", model=nano) as opened:
        assert opened.passages is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ray"], "--shards"),
        (["--shards", "2", "--workers", "2"], "add --ray"),
        (["--shards", "2", "--if-exists", "append"], "--if-exists"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, arguments, says):
    (tmp_path / "rows.jsonl").write_text("")
    result = CliRunner().invoke(
        main, ["index", str(tmp_path / "c"), str(tmp_path / "rows.jsonl"), *arguments]
    )
    assert result.exit_code == 2
    assert says in result.output


def test_commands_that_read_and_change_documents_take_it(tmp_path, nano):
    rows = [{"id": f"n{i}", "text": f"harbour number {i} has a storm", "year": 2000 + i} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[4:]))
    path, run = str(tmp_path / "c"), CliRunner().invoke
    run(main, ["index", path, str(tmp_path / "rows.jsonl"), "--shards", "2", "--model", "nano"])
    assert "holds 6" in run(main, ["add", path, "--input", str(tmp_path / "more.jsonl")]).output
    found = run(main, ["search", f"{path}/manifest.json", "storm", "-k", "6", "--json"]).output
    assert len(json.loads(found)["hits"]) == 6
    listed = run(main, ["list", path, "--where", "year >= 2004", "--json"]).output
    assert [json.loads(line)["_id"] for line in listed.splitlines()] == ["n4", "n5"]
    assert json.loads(run(main, ["get", path, "n3", "--json"]).output)["metadata"] == {"year": 2003}
    assert "holds 5" in run(main, ["delete", path, "n3"]).output
    refused = run(main, ["info", path])
    assert (refused.exit_code, "collection in shards" in refused.output) == (1, True)


def test_an_index_stays_one_beside_somebody_s_manifest(tmp_path):
    from lfm2_retrieval import Index
    from lfm2_retrieval.distributed import is_manifest

    Index.create(tmp_path / "index", 8).close()
    (tmp_path / "index" / "manifest.json").write_text('{"name": "a web page"}')
    assert not is_manifest(tmp_path / "index")
    assert CliRunner().invoke(main, ["list", str(tmp_path / "index")]).exit_code == 0
