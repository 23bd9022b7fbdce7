"""``lfm2-retrieve eval``: measure a model and an index on judged collections."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ._extras import need, say_without
from ._input import batch_option
from ._options import together
from ._output import print_json

if TYPE_CHECKING:
    from ..evaluation.datasets import DatasetRef


def _names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Names, separated by commas or white space, or given several times."""
    return [name for value in values for name in value.replace(",", " ").split()]


def _systems(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Systems by name; exact where none is named."""
    from ..errors import InvalidInputError
    from ..evaluation.systems import parse_systems

    try:
        return parse_systems(_names(ctx, param, values) or ["exact"])
    except InvalidInputError as error:
        raise click.BadParameter(str(error), ctx, param) from None


_shared = together(
    click.option("--model", help="nano, a folder or a name on the hub.  [default: the suite's]"),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder for results, runs and reports; one with results is gone on with.  [default: "
        "eval-SUITE-MODEL]",
    ),
    click.option("--languages", multiple=True, callback=_names, help="Some of them: de,en. Repeatable."),
    click.option("--tasks", multiple=True, callback=_names, help="Some of them: NQ,SciFact. Repeatable."),
    click.option("--cross-lingual", is_flag=True, help="Ask each language's documents in every language."),
    click.option(
        "--systems",
        multiple=True,
        callback=_systems,
        metavar="NAMES",
        help="What to measure, such as exact,balanced,hybrid: exact; accurate, balanced, compact (tiers); "
        "hybrid, hybrid-weighted, hybrid-rerank; lexical (by words); bm25s (another's BM25). Repeatable.  "
        "[default: exact]",
    ),
    click.option(
        "--compat",
        type=click.Choice(["pylate", "sentence-transformers", "mteb"]),
        help="Reproduce another evaluator, where they differ.",
    ),
    click.option(
        "--depth", type=click.IntRange(min=100), default=100, show_default=True, help="Documents a query."
    ),
    batch_option(),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …"),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "float16", "bfloat16", "int8"]),
        default="auto",
        show_default=True,
        help="Of the model's forward pass.",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn."
    ),
    click.option(
        "--speed/--no-speed",
        "--throughput/--no-throughput",
        "throughput",
        default=False,
        show_default=True,
        help="Measure the encoder's speed by length and batch, too.",
    ),
    click.option("--overwrite", is_flag=True, help="Measure anew what --out holds."),
    click.option("--json", "json_", is_flag=True, help="Print results.json as one line."),
)
"""The options of the commands that measure."""
_sources = together(
    click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Where the files lie, in any of the published layouts; nothing is fetched then.",
    ),
    click.option(
        "--source",
        "repository",
        help="Another repository on the hub: lightonai/nanobeir-multilingual or "
        "'sentence-transformers/NanoBEIR-{language}'.",
    ),
    click.option("--offline", is_flag=True, help="Use what is in the caches, and no network."),
)
"""The options of suites that need files."""


@click.group()
def command() -> None:
    """Measure a model and an index on judged collections.

    Every cell, a task with documents in one language and queries in one, leaves a TREC run and its queries'
    measures in --out; results.json holds all else, and reports are made of it. Cells that are there already
    are not run again. A cell that fails is noted, the rest goes on, and the exit code is 1.
    """


@command.command("demo")
@_shared
def demo(**options: Any) -> None:
    """The bundled parallel collection, eight languages; needs no network."""
    _suite("demo", data=None, repository=None, offline=True, **options)


@command.command("nanobeir")
@_shared
@_sources
def nanobeir(*, languages: list[str], cross_lingual: bool, repository: str | None, **options: Any) -> None:
    """NanoBEIR: in English, in the --languages given, or across languages.

    English alone comes through ir-datasets, every file held to its checksum. With --languages (up to
    eleven, or all) or --cross-lingual (the published nine unless --languages says else) it comes from the
    hub.
    """
    several = cross_lingual or repository is not None or (languages and languages != ["en"])
    name = "nanobeir-crosslingual" if cross_lingual else "nanobeir-multilingual" if several else "nanobeir"
    _suite(name, languages=languages, cross_lingual=cross_lingual, repository=repository, **options)


@command.command("run")
@click.argument("suite")
@_shared
@_sources
def run(*, suite: str, **options: Any) -> None:
    """A SUITE by its name, or a file of your own, SUITE.toml; eval/README.md says what such a file holds.

    What the file's [settings] say is the default of the options here.
    """
    _suite(suite, **options)


@command.command("beir")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_shared
@click.option("--split", default="test", show_default=True, help="Which qrels/SPLIT.tsv.")
@click.option(
    "--shared-queries", is_flag=True, help="Measure on the queries that all languages of a task have."
)
def beir(*, folders: tuple[Path, ...], split: str, **options: Any) -> None:
    """Folders in BEIR layout, or folders of such.

    A FOLDER has corpus.jsonl, queries.jsonl and qrels/test.tsv, plain or gzipped. Folders called NAME-LANG
    are one task in several languages; with --cross-lingual they give the matrix. NanoBEIR's parquet layouts
    are read, too.
    """
    _check_extras(options)
    from ..evaluation.sources import choose, from_folders

    refs = from_folders(folders, split)
    chosen = choose(refs, options.pop("tasks"), options.pop("languages"))
    name = "-".join(folder.absolute().name for folder in folders[:3])
    suite = {"name": name, "title": ", ".join(dict.fromkeys(ref.task for ref in chosen)), "published": []}
    _evaluate(chosen, suite, "nano", **options)


@command.command("compare")
@click.argument("run_a", type=click.Path(exists=True, path_type=Path))
@click.argument("run_b", type=click.Path(exists=True, path_type=Path))
@click.option("--qrels", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For run files.")
@click.option("--system", help="Of folders: a name of --systems; A:B for two.  [default: exact]")
@click.option("--measure", default="nDCG@10", show_default=True, help="By which to compare.")
@click.option(
    "--most", type=click.IntRange(min=0), default=10, show_default=True, help="Changed queries to list."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn."
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def compare(
    *,
    run_a: Path,
    run_b: Path,
    qrels: Path | None,
    system: str | None,
    measure: str,
    most: int,
    seed: int,
    json_: bool,
) -> None:
    """Compare RUN_A with RUN_B: two result folders, or two TREC run files.

    For each data set: the means, the difference with its 95 % interval, a paired randomisation test and a
    paired t test, corrected for the number of data sets (Holm), and the queries that changed most. Run files
    of a result folder find their judgements beside them; others need --qrels.
    """
    need("comparing runs", "eval", "scipy", "ir_measures")
    from ..evaluation.comparison import compare_folders, compare_runs, markdown

    if run_a.is_dir() != run_b.is_dir():
        raise click.UsageError("give two folders or two run files")
    if run_a.is_dir():
        first, _, second = (system or "exact").partition(":")
        report = compare_folders(run_a, run_b, (first, second or first), measure, most=most, seed=seed)
    else:
        report = compare_runs(run_a, run_b, qrels, measure, most=most, seed=seed)
    if json_:
        print_json(report)
    else:
        click.echo(markdown(report), nl=False)


@command.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
def report(folder: Path) -> None:
    """Make the reports of the results in DIR anew."""
    _say_without_pictures()
    from ..evaluation.report import write_reports

    for file in write_reports(folder):
        click.echo(f"wrote {file}")


def _suite(
    name: str,
    *,
    tasks: list[str],
    languages: list[str],
    cross_lingual: bool,
    data: Path | None,
    repository: str | None,
    offline: bool,
    **options: Any,
) -> None:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # for the model, too; read when the hub's client is imported
    from ..evaluation.suites import load_suite

    suite = load_suite(name)
    options |= _not_given(suite.facts.get("settings", {}))
    _check_extras(options)
    refs = suite.refs(tasks, languages, folder=data, repository=repository, offline=offline)
    facts = {
        "name": suite.name,
        "title": suite.title,
        "published": list(suite.published),
        "documents_per_language": suite.facts.get("documents_per_language", 0),
        "absent": suite.absent(refs) if data and not tasks and not languages else [],
    }
    if facts["absent"]:
        click.echo(f"not there, and left out: {', '.join(facts['absent'])}", err=True)
    cross = cross_lingual or suite.cross_lingual
    shared = cross and suite.shared_queries
    _evaluate(refs, facts, suite.model, cross_lingual=cross, shared_queries=shared, **options)


def _check_extras(options: Mapping[str, Any]) -> None:
    """What would be missing after hours."""
    need("measuring the quality of a search", "eval", "ir_measures")
    if "bm25s" in options["systems"]:
        need("the baseline bm25s", "eval", "bm25s")
    _say_without_pictures()


def _say_without_pictures() -> None:
    say_without("pictures", "eval", "matplotlib")
    say_without("HTML report", "eval", "jinja2")


def _not_given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's settings, without those that the command line names."""
    context = click.get_current_context()
    default = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    return {name: value for name, value in settings.items() if context.get_parameter_source(name) in default}


def _evaluate(
    refs: list[DatasetRef],
    suite: dict[str, Any],
    default_model: str,
    *,
    model: str | None,
    out: Path | None,
    device: str,
    dtype: Any,
    compat: str | None,
    throughput: bool,
    overwrite: bool,
    json_: bool,
    **settings: Any,
) -> None:
    from ..encoder import Encoder
    from ..evaluation.compat import Compat
    from ..evaluation.report import summary, write_reports
    from ..evaluation.runner import run_suite
    from ..evaluation.settings import Settings

    chosen = Settings(
        compat=None if compat is None else Compat(compat),
        **settings,
    )
    encoder = Encoder.load(model or default_model, device=device, dtype=dtype)
    crossed = "-crosslingual" if chosen.cross_lingual and "crosslingual" not in suite["name"] else ""
    folder = out or Path(f"eval-{suite['name']}{crossed}-{Path(encoder.name).name}")
    content = run_suite(
        refs,
        encoder,
        folder,
        chosen,
        suite=suite,
        overwrite=overwrite,
        throughput=throughput,
        on_progress=lambda line: click.echo(line, err=True),
    )
    for file in write_reports(folder):
        click.echo(f"wrote {file}", err=True)
    if json_:
        print_json(content)
    else:
        click.echo(summary(content), nl=False)
    failed = [cell for cell in content["cells"] if cell["status"] == "failed"]
    if failed:
        raise click.ClickException(
            f"{len(failed)} of {len(content['cells'])} cells failed, such as {failed[0]['name']}: "
            f"{failed[0]['error']}"
        )
