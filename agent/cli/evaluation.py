"""``detailscribe evaluate``, ``rate``, ``ratings`` and ``critic-test``: measures methods and critics."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...tools.errors import SettingsError
from .common import console, print_tables
from .options import Json, LpipsWeights, Markdown, SettingsFile, argument, option, split_arguments, with_options

if TYPE_CHECKING:
    from ...tools.roles import Critic

KNOWN = (
    "clipscore, image_reward, blip_vqa: local models; vqascore, interactions, layout: a chat model with vision;"
    " questions, questions_geometric, questions_gated: the same with the benchmark's own questions; checklist,"
    " all_correct: the critic of the settings; judge, judge_all_correct: the embedded world's independent judge."
)
IMAGES = "Of each run: best, first (as the bare model draws), last, all; each further one is a method."
PHRASES = (
    "Noun phrases of blip_vqa: concepts of the run, or of the settings' decomposer where it has none; or a list of the"
    " chat model's own."
)
AGAINST = "Win rates are against this one; by default the first."
PROMPTS = "Prompts with scenario and questions, for runs of no batch."
WEIGHTS = "A local folder, or a hub id."
VALUES = "Writes every single value: .parquet, .csv or .jsonl."
KEPT = "Also what refinements keep: passing checks, and pixels outside of what was wrong."
WIDE = "A row for each method, a column for each metric: mean ± standard error, win rate."
EXPORTED = "Files that raters exported; or folders of runs that have notes."
SCORES = "Files of `detailscribe evaluate --out`, to compare with people."
WRITTEN_KEY = "The key that `detailscribe rate` wrote."
KEY = "Which method made which picture; keep it from raters. By default beside the page, ending in .key.json."
SOURCE = (
    "world:N for pictures of the embedded world; a folder of runs that have notes; with --key, what raters exported, as"
    " a file or a folder; R3-Bench's JSONL; genai_image.json; or a table with prompt, image, and answer or rating."
)
PICTURES = "Where the pictures are, or rated runs; beside SOURCE, or the key."
SECOND = "A second critic: judge (the embedded world's), or a model of the same server."
PAIRS = "Pairs of pictures of one prompt that each critic compares, if it can."
REPAIR = "Wrong pictures that the editor of the settings edits, or that are drawn anew, and judged."
RUNS = "Runs, batches, or folders of them; each batch is a method; NAME=FOLDER names it."
Runs = Annotated[list[str], argument(RUNS, metavar="RUNS...")]


@with_options(("preset", "chat_url", "chat_model", "vision_url", "vision_model"))
def evaluate(
    runs: Runs,
    metrics: Annotated[str, option(KNOWN, panel="measures", metavar="A,B", show_default=False)],
    given: dict[str, Any],
    images: Annotated[str, option(IMAGES, panel="measures", metavar="A,B")] = "best",
    by: Annotated[Literal["folder", "policy"], option("What makes a method.", panel="measures")] = "folder",
    against: Annotated[str | None, option(AGAINST, panel="measures", metavar="METHOD")] = None,
    prompts: Annotated[str | None, option(PROMPTS, panel="measures", metavar="FILE")] = None,
    weights: Annotated[list[str] | None, option(WEIGHTS, panel="measures", metavar="METRIC=FOLDER")] = None,
    phrases: Annotated[Literal["concepts", "chat"], option(PHRASES, panel="measures")] = "concepts",
    preservation: Annotated[bool, option(KEPT, "--preservation", panel="measures")] = False,
    lpips: LpipsWeights = None,
    settings: SettingsFile = None,
    json: Json = False,
    markdown: Markdown = False,
    latex: Annotated[bool, option("Print LaTeX.", "--latex", panel="shows")] = False,
    wide: Annotated[bool, option(WIDE, "--wide", panel="shows")] = False,
    cost: Annotated[bool, option("Also what each method spent on a prompt.", "--cost", panel="shows")] = False,
    out: Annotated[Path | None, option(VALUES, panel="shows", metavar="FILE")] = None,
) -> None:
    """Measure the images of RUNS: means, deviations, standard errors and win rates by method and scenario."""
    from rich.progress import Progress

    from ...tools.data import read_prompts
    from ..evaluation import figures
    from ..evaluation.collect import collect, listed, picks_named
    from ..evaluation.measure import corrected, measure, preserved, require_output, write_measurements
    from ..settings.loading import load
    from ..settings.models import Models

    if out is not None:
        require_output(out)
    folders = split_arguments(weights, "--weights", "metric=folder")
    loaded = Models(load(given, file=settings).settings).metrics(listed(metrics), folders, phrases)
    records = {} if prompts is None else {record.prompt: record for record in read_prompts(prompts)}
    collected = collect(runs, by=by, picks=picks_named(images), prompts=records)
    methods = list(dict.fromkeys(shot.method for shot in collected.shots))
    if against is not None and against not in methods:
        raise SettingsError(f"--against {against!r} is none of the methods: {', '.join(methods)}")
    with Progress(console=console(stderr=True), transient=True) as progress:
        bars = {name: progress.add_task(name, total=len(collected.shots)) for name in loaded}
        work = measure(
            collected.shots,
            loaded,
            skipped=collected.skipped,
            on_progress=lambda name, done, total: progress.update(bars[name], completed=done, total=total),
        )
        measured = asyncio.run(work) + corrected(collected.shots)
    if preservation or lpips is not None:
        measured += preserved(collected.shots, lpips)
    if out is not None:
        write_measurements(measured, out)
    rows, costs = figures.figures_of(measured, against), figures.costs_of(collected.spent)
    missing, checklists = figures.reasons(measured), collected.checklists
    benchmark = any(shot.sample.questions or shot.checklist == "own" for shot in collected.shots)
    by_method = "; ".join(f"{method}: {checklist}" for method, checklist in checklists.items())
    note = f"Checklist that the loop saw (own: the benchmark's questions): {by_method}." if benchmark else ""
    tables = [figures.wide_table(rows, note) if wide else figures.long_table(rows, note), *([costs] if cost else [])]
    data: dict[str, Any] = {"figures": [row.data for row in rows], "costs": costs.records}
    data |= {"checklists": checklists, "missing": missing}
    print_tables(tables, markdown=markdown, latex=latex, json=json, data=data)
    for line in () if json else missing:
        typer.echo(line, err=True)


def rate(
    runs: Runs,
    criteria: Annotated[str, option("Rated from 1 to 5.", panel="asks", metavar="A,B")] = "interactions,layout",
    checks: Annotated[bool, option("Ask every check of the prompt too, yes or no.", "--checks", panel="asks")] = False,
    images: Annotated[str, option("Of each run: best, first, last, all.", panel="asks", metavar="A,B")] = "best",
    prompts: Annotated[int | None, option("Prompts at most, evenly from each scenario.", panel="asks", min=1)] = None,
    seed: Annotated[int, option("Of the order of the pictures.", panel="asks", min=0)] = 0,
    out: Annotated[Path, option("The page, for raters.", panel="files", metavar="FILE")] = Path("rating.html"),
    key: Annotated[Path | None, option(KEY, panel="files", metavar="FILE")] = None,
    beside: Annotated[bool, option("Pictures in a folder beside the page.", "--beside", panel="files")] = False,
) -> None:
    """Write one page on which people rate the images of RUNS without knowing which method made them."""
    from ..evaluation.collect import collect, listed, picks_named
    from ..evaluation.survey import criteria_named, make_survey, write_survey

    asked = criteria_named(listed(criteria))
    collected = collect(runs, picks=picks_named(images))
    survey = make_survey(collected.shots, asked, seed=seed, checks=checks, prompts=prompts)
    key = key or out.with_suffix(".key.json")
    pictures = write_survey(survey, out, key, beside=beside)
    typer.echo(f"page     {out}")
    if pictures is not None:
        typer.echo(f"pictures {pictures}")
    typer.echo(f"key      {key} (keep it from raters)")
    typer.echo(f"{len(survey.shots)} pictures of {survey.prompts} prompts, {len(survey.key.methods)} methods")
    if skipped := collected.skipped:
        typer.echo(f"{len(skipped)} run(s) give no image, such as {skipped[0].place}", err=True)


def ratings(
    files: Annotated[list[Path], argument(EXPORTED, metavar="FILES...")],
    key: Annotated[Path | None, option(WRITTEN_KEY, metavar="FILE", show_default=False)] = None,
    scores: Annotated[list[Path] | None, option(SCORES, metavar="FILE")] = None,
    against: Annotated[str | None, option("Gains are over this one. By default the first.", metavar="METHOD")] = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Report how people rate methods, how far they agree, and how far metrics and the critic agree with them."""
    from ..evaluation.answers import read_answers
    from ..evaluation.measure import read_measurements
    from ..evaluation.ratings import rating_tables, tables_of_notes
    from ..evaluation.survey import read_key

    if key is None:
        if not all(file.is_dir() for file in files):
            raise SettingsError("give --key, the file that `detailscribe rate` wrote, or folders of runs alone")
        tables = tables_of_notes(files)
        data = {name: table.records for name, table in tables.items()}
        print_tables(list(tables.values()), markdown=markdown, json=json, data=data)
        if not tables["notes"].rows:
            typer.echo("no run in there has notes; `detailscribe view` keeps what you note", err=True)
        return
    survey_key = read_key(key)
    measured = [measurement for path in scores or [] for measurement in read_measurements(path)]
    answers = read_answers(files, survey_key)
    tables = rating_tables(answers, survey_key, measured, against)
    raters, rated = answers.rated["rater"].value_counts(sort=False).to_dict(), answers.rated["item"].nunique()
    if not (json or markdown):
        who = ", ".join(f"{rater} {count}" for rater, count in raters.items())
        typer.echo(f"{rated} of {len(survey_key.items)} pictures rated; by rater: {who}\n")
    data: dict[str, Any] = {"raters": raters, "pictures": len(survey_key.items), "rated": rated}
    data |= {name: table.records for name, table in tables.items()} | {"problems": answers.problems}
    print_tables(list(tables.values()), markdown=markdown, json=json, data=data)
    for line in answers.problems:
        typer.echo(line, err=True)


@with_options(("preset", "chat_url", "chat_model", "vision_url", "vision_model", "set"))
def critic_test(
    source: Annotated[str, argument(SOURCE)],
    given: dict[str, Any],
    images: Annotated[Path | None, option(PICTURES, metavar="FOLDER")] = None,
    key: Annotated[Path | None, option(WRITTEN_KEY, metavar="FILE")] = None,
    against: Annotated[str | None, option(SECOND, metavar="NAME")] = None,
    passes: Annotated[float, option("Mean rating from which a picture counts as right.")] = 4.0,
    limit: Annotated[int | None, option("Pictures at most.", min=1)] = None,
    votes: Annotated[int, option("Critiques of each picture, to see how far they agree.", min=1)] = 1,
    pairs: Annotated[int, option(PAIRS, min=0)] = 0,
    repair: Annotated[int, option(REPAIR, min=0)] = 0,
    seed: Annotated[int, option("Of the embedded world's pictures.", min=0)] = 0,
    settings: SettingsFile = None,
    json: Json = False,
    markdown: Markdown = False,
    out: Annotated[Path, option("For the profiles and the plot.", metavar="FOLDER")] = Path("critic-test"),
) -> None:
    """Measure the critic of the settings, and a second one, on labelled images."""
    from ...tools.files import Store
    from ...tools.world.critic import EmbeddedJudge
    from ..evaluation import critic_test as test
    from ..settings.loading import load
    from ..settings.models import Models, make_critic, make_decomposer, make_diffusion

    chosen = load(given, file=settings).settings
    models = Models(chosen)
    pictures = images or (out / "pictures" if source.startswith(test.WORLD) else None)
    labelled = test.read_labelled(source, pictures, key=key, passes=passes, seed=seed)[:limit]
    uncached = chosen.model_copy(update={"chat": chosen.chat.model_copy(update={"cache": None})})
    again = [make_critic(uncached, Models(uncached).vision) for _ in range(votes - 1)]
    critics: dict[str, list[Critic]] = {"critic": [make_critic(chosen, models.vision), *again]}
    if against == "judge":
        critics["judge"] = [EmbeddedJudge()]
    elif against is not None and not chosen.chats:
        raise SettingsError(f"--against {against}: name a --chat-model, or the judge of the embedded world")
    elif against is not None:
        other = chosen.model_copy(update={"vision": chosen.vision.model_copy(update={"model": against})})
        critics[against] = [make_critic(other, Models(other).vision)]
    decomposer = make_decomposer(chosen, models.language)
    by_critic, ordered, unanswered = asyncio.run(test.run_critics(labelled, critics, decomposer, pairs))
    tables = [test.accuracy_table(by_critic), test.calibration_table(by_critic), test.agreement_table(by_critic)]
    tables += [test.pairs_table(ordered), test.cost_table(by_critic, ordered)]
    if repair:
        drawer, repairs, edits = make_diffusion(chosen), Store(out / "repaired"), chosen.edit.kind != "off"
        judge = critics[against or "critic"][0] if chosen.chats else EmbeddedJudge()
        tables.append(asyncio.run(test.repair_table(by_critic["critic"], drawer, judge, repairs, repair, edits=edits)))
    written = test.write_files(by_critic, out)
    print_tables(tables, markdown=markdown, json=json)
    for line in (*written, *unanswered):
        typer.echo(line, err=True)
