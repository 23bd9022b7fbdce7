from eval.benchmarks import syncing


def test_it_counts_what_is_encoded():
    report = syncing.measure(30, 10, 3)
    first, same, changed = report["syncs"].values()
    assert (first["files_put"], first["passages_encoded"]) == (30, 30)
    assert (same["files_put"], same["passages_encoded"]) == (0, 0)
    assert (changed["files_put"], changed["passages_encoded"]) == (3, 3)
