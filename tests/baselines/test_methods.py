"""``batch --methods``: several methods with one command, each with settings and a folder of its own."""

import json
import os
import sys

import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.agent.cli.batch import load_methods
from detailscribe.agent.evaluation.collect import collect
from detailscribe.tools.errors import SettingsError

from ..agent.fakes import FakeDecomposer, FakeDiffusion, ScriptedCritic, stand_in


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def loaded(folder, names, **sections):
    return {name: one.settings for name, one in load_methods(names, sections, folder, None).items()}


def test_every_method_of_the_paper_is_loaded_with_one_preset(tmp_path):
    names = ["base", "best-by-clipscore", "rewrite", "refine", "undecomposed", "detailscribe", "dall-e-3+base"]
    found = loaded(tmp_path, names, run={"preset": "paper", "seed": 3})
    assert [one.run.preset for one in found.values()] == [
        "paper+base",
        "paper+best-by-clipscore",
        "paper+rewrite",
        "paper+refine",
        "paper+undecomposed",
        "paper",
        "dall-e-3+base",
    ]
    policies = [one.run.policy for one in found.values()]
    assert policies == ["best_of_n", "best_of_n", "best_of_n", "paper", "paper", "paper", "best_of_n"]
    assert all(one.run.out == tmp_path / name and one.run.seed == 3 for name, one in found.items())
    other = found["dall-e-3+base"].diffusion
    assert (other.model, other.kind) == ("dall-e-3", "endpoint")
    assert len({repr(one.diffusion) for name, one in found.items() if name != "dall-e-3+base"}) == 1


def test_a_policy_is_for_the_methods_that_leave_it_open(tmp_path):
    run = {"policy": "hybrid", "policy_args": {"parallel": 3}}
    found = loaded(tmp_path, ["base", "best-of-4-by-judge", "refine", "undecomposed", "detailscribe"], run=run)
    assert [(one.run.policy, one.run.policy_args) for one in found.values()] == [
        ("best_of_n", {"n": 1}),
        ("best_of_n", {"n": 4}),
        ("paper", {"start_steps": [0]}),
        ("hybrid", {"parallel": 3}),
        ("hybrid", {"parallel": 3}),
    ]


def test_what_is_said_of_the_model_is_not_said_of_another_presets(tmp_path):
    given = {"run": {"preset": "diffusers", "steps": 9, "guidance": 2.0}, "diffusion": {"model": "flux"}}
    found = loaded(tmp_path, ["base", "images-endpoint+base"], **given)
    assert (found["base"].diffusion.model, found["base"].run.steps) == ("flux", 9)
    assert found["images-endpoint+base"].diffusion.model == "gpt-image-1"
    assert found["images-endpoint+base"].run.steps != 9


def test_a_file_that_names_a_model_does_not_draw_in_another_presets_name(tmp_path):
    file = tmp_path / "all.toml"
    file.write_text('[diffusion]\nmodel = "flux"')
    with pytest.raises(SettingsError, match=r"dall-e-3 draws with dall-e-3, but .* comes from elsewhere \(file"):
        load_methods(["base", "dall-e-3"], {}, tmp_path, file)


@pytest.mark.parametrize(
    ("names", "preset", "complaint"),
    [
        (["base", "bass"], "embedded", "no method 'bass'; known are detailscribe, base, rewrite"),
        (["base", "base"], "embedded", "name each method once"),
        (["best-of-0-by-judge"], "embedded", "no method"),
        (["embedded+bas"], "embedded", "did you mean 'base'"),
        (["base"], "embedded+refine", "is one method already"),
    ],
)
def test_what_is_no_list_of_methods_is_told(tmp_path, names, preset, complaint):
    with pytest.raises(SettingsError, match=complaint):
        load_methods(names, {"run": {"preset": preset}}, tmp_path, None)


@pytest.fixture
def cli(monkeypatch):
    stand_in(FakeDecomposer, FakeDiffusion, lambda: ScriptedCritic({"00-00": "red"}), monkeypatch.setattr)
    return lambda *arguments, **more: CliRunner().invoke(app, [str(a) for a in arguments], **more)


def test_one_command_makes_a_batch_of_each_method_and_goes_on_where_it_stopped(cli, tmp_path):
    (tmp_path / "p.txt").write_text("a cat\na dog\n")
    done = cli("batch", "p.txt", "--methods", "base,detailscribe")
    assert done.exit_code == 0, done.output
    assert [line for line in done.stdout.splitlines() if line in ("base", "detailscribe")] == ["base", "detailscribe"]
    found = collect(["runs/p"])
    assert [shot.method for shot in found.shots] == ["base"] * 2 + ["detailscribe"] * 2
    assert {shot.sample.image.id for shot in found.shots if shot.method == "base"} == {"00-00"}
    again = cli("batch", "p.txt", "--methods", "base,detailscribe,rewrite", "--quiet")
    assert again.stdout.split() == ["runs/p/base", "runs/p/detailscribe", "runs/p/rewrite"]
    rows = {m: (tmp_path / "runs/p" / m / "results.jsonl").read_text().splitlines() for m in ("base", "rewrite")}
    assert [len(lines) for lines in rows.values()] == [2, 2]
    assert json.loads(rows["base"][0])["spend"]["images"] == 1


def test_nothing_is_made_where_one_of_the_methods_is_wrong(cli, tmp_path):
    (tmp_path / "p.txt").write_text("a cat\n")
    done = cli("batch", "p.txt", "--methods", "base,bass")
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert not (tmp_path / "runs").exists()


def test_prompts_that_are_read_once_cannot_serve_several_methods(cli):
    done = cli("batch", "-", "--methods", "base,detailscribe", input="a cat\n")
    assert done.exit_code == 2
    assert "name a file" in done.stderr
