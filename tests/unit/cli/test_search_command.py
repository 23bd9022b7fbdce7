import json

import pytest
from rich.cells import cell_len

from lfm2_retrieval import Retriever, rerank
from lfm2_retrieval.cli._output import format_hit
from lfm2_retrieval.datatypes import Hit


def test_one_query_lists_its_hits(run, made):
    result = run("search", made, "quick fox", "-k", "3")
    assert result.exit_code == 0
    assert [line.split(".")[0].strip() for line in result.stdout.splitlines() if line[:5].strip()] == list(
        "123"
    )
    with Retriever.open(made) as retriever:
        best = retriever.search("quick fox", 1)[0]
    assert f"{best.score:.3f}  {best.id}" in result.stdout.splitlines()[0]


def test_several_queries_are_grouped(run, made):
    lines = run("search", made, "fox", "", "rain", "-k", "1").stdout.splitlines()
    assert lines[0] == "fox"
    assert "rain" in lines
    assert "  nothing found" in lines


def test_json_is_a_line_a_query(run, made):
    result = run("search", made, "fox", "-", "--json", "-k", "2", input="rain\n\n猫\n")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["query"] for one in found] == ["fox", "rain", "猫"]
    assert [hit["rank"] for hit in found[0]["hits"]] == [1, 2]
    assert found[0]["hits"][0].keys() == {
        *("rank", "id", "score", "score_kind", "normalized_score", "text", "metadata", "excerpt")
    }
    assert found[0]["hits"][0]["score_kind"] == "maxsim"
    excerpt = found[0]["hits"][0]["excerpt"]
    start, end = excerpt["span"]
    assert found[0]["hits"][0]["text"][start:end] == excerpt["text"]
    assert all(start <= a < b <= end for a, b in excerpt["words"])


def test_the_sentence_that_answers_is_shown_and_nothing_marked_in_a_pipe(run, tmp_path, checkpoint):
    filler = "Nobody knows why the harbour was built so far from the river, or by whom. " * 20
    text = f"{filler}\n\nThe ferry to Odra leaves at seven.\n\n{filler}"
    Retriever.index([{"id": "far", "text": text}], tmp_path / "index", model="nano").close()
    for mode in ("lexical", "hybrid"):
        result = run("search", tmp_path / "index", "when does the ferry leave?", "--mode", mode)
        assert "The ferry to Odra leaves at seven." in result.stdout
        assert "harbour" not in result.stdout
        assert "*" not in result.stdout


def test_vectors_that_no_text_explains_are_found_all_the_same(run, tmp_path, made, checkpoint):
    path = tmp_path / "index"
    with Retriever.index(["one"], path, model=checkpoint()) as retriever:
        vectors = retriever.encoder.encode_documents(["quite another text with more words"])
        retriever.store.add(["other"], vectors, ["short"])
    result = run("search", path, "another text", "--json")
    assert {hit["id"] for hit in json.loads(result.stdout)["hits"]} == {"0", "other"}


def test_no_query_on_stdin_is_no_output(run, made):
    assert run("search", made, "-", input="\n").output == ""


def test_a_moved_model_and_a_wrong_one(run, made, checkpoint):
    assert run("search", made, "fox", "--model", checkpoint()).exit_code == 0
    result = run("search", made, "fox", "--model", checkpoint(hidden=64))
    assert result.exit_code == 1
    assert "was made with" in result.stderr


def test_a_query_that_is_cut_is_warned_about_in_one_line(run, made):
    result = run("search", made, "word " * 100, "-k", "1")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: 1 of 1 query texts")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["search", "{}", "q"], ["info", "{}"]])
def test_what_is_no_index(run, tmp_path, command):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none", tmp_path, tmp_path / "file"):
        result = run(*[part.format(path) for part in command])
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")


def test_a_real_process_prints_what_no_terminal_can(spawn, made):
    process = spawn("search", made, "fox\udcff", "-k", "1", "--json", "--trust-model")
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
    assert json.loads(output)["query"] == "fox\udcff"


def test_a_hit_is_printed_without_control_characters():
    hit = Hit(
        "id\x1b[2J", 1.5, 1, text="T\x07itle body\x00 with\x9b31m\n\n lines", metadata={"title": "T\x07itle"}
    )
    printed = format_hit(hit)
    assert not any(character < " " and character != "\n" for character in printed)
    assert "\x9b" not in printed
    assert "id [2J" in printed


def test_marks_stay_within_title_and_text():
    hit = Hit("a", 1.0, 1, text="Red fox runs far", metadata={"title": "Red fox"})
    printed = format_hit(hit, [(0, 3), (8, 12)])
    assert printed.splitlines()[0].endswith("a  *Red* fox")
    assert printed.splitlines()[1].strip() == "*runs* far"


def test_long_and_wide_texts_are_cut_and_wrapped():
    printed = format_hit(Hit("a", 1.0, 1, text="猫" * 2000), [(590, 610)])
    assert 90 <= max(map(cell_len, printed.splitlines())) <= 96
    assert printed.endswith("…")
    assert format_hit(Hit("a", 1.0, 1)).strip() == "1.   1.000  a"


def test_modes_groups_and_limits(run, made, tmp_path):
    lexical = run(
        "search", made, "bread wine", "--mode", "lexical", "--json", "--model", tmp_path / "nowhere"
    )
    [hit] = json.loads(lexical.stdout)["hits"]  # no model was needed
    assert (hit["id"], hit["score_kind"], hit["normalized_score"]) == ("town", "bm25", None)
    for fusion in ("rrf", "weighted", "rerank"):
        result = run(
            "search", made, "bread", "--mode", "hybrid", "--fusion", fusion, "--weight", "0.2", "--json"
        )
        assert json.loads(result.stdout)["hits"][0]["score_kind"] in (fusion, "maxsim")
    grouped = json.loads(run("search", made, "bread", "--group-by", "lang", "--json").stdout)["hits"]
    assert len(grouped) == 4  # documents without the field stand alone
    assert run("search", made, "bread", "--min-score", "1e9").stdout == "  nothing found\n"
    assert run("search", made, "bread", "--mode", "sparse").exit_code == 2


def test_words_and_fields_can_be_left_out_and_added(run, corpus, checkpoint, tmp_path):
    path = tmp_path / "index"
    made = run("index", path, "-i", corpus, "--model", checkpoint(), "--no-lexical", "--field", "lang")
    assert made.exit_code == 0
    refused = run("search", path, "bread", "--mode", "lexical")
    assert (refused.exit_code, "configure --lexical" in refused.stderr) == (1, True)
    shown = run("configure", path)
    assert shown.stdout.splitlines() == ["words    not kept", "fields   lang"]
    changed = run("configure", path, "--lexical", "--field", "it's", "--json")
    assert json.loads(changed.stdout) == {"lexical": True, "fields": ["lang", "it's"]}
    assert "town" in run("search", path, "bread", "--mode", "lexical").stdout
    assert run("configure", path, "--field", "a..b").exit_code == 1
    assert run("configure", tmp_path).exit_code == 1


def test_rerank_needs_no_index(run, corpus, checkpoint):
    result = run("rerank", "quick fox", "-i", corpus, "--model", checkpoint(), "--json", "-k", "3")
    hits = json.loads(result.stdout)["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    expected = rerank("quick fox", [{"id": "rain", "text": "rain falls on quiet hills"}], model=checkpoint())
    assert [hit["score"] for hit in hits if hit["id"] == "rain"] in ([], [pytest.approx(expected[0].score)])
    assert "Foxes" in run("rerank", "fox", "-i", corpus, "--model", checkpoint()).stdout
    assert run("rerank", " ", "-i", corpus, "--model", checkpoint()).stdout == "  nothing to rank\n"
