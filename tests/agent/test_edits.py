"""Where there is a model that edits, local failures are edited; where there is none, everything is as it was."""

import base64
import io
import re
import time
from pathlib import Path

import pytest
from PIL import Image

from detailscribe.agent import Adaptive, resume, run
from detailscribe.agent.batch.jobs import JobRequest, job_of
from detailscribe.agent.experiments.load import make_experiment
from detailscribe.agent.graph.judge import allowed, costs
from detailscribe.agent.graph.person import meant
from detailscribe.agent.policies import instruction, refine_anew
from detailscribe.agent.records.reader import read_run
from detailscribe.agent.settings.checks import look_at_diffusion
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.views.terminal import PlainConsole, story
from detailscribe.state import Attempt, Budget, Decision, Verdict
from detailscribe.tools.diffusion import EndpointDiffusion
from detailscribe.tools.diffusion.editing import WithEditor
from detailscribe.tools.errors import ReplyError, SettingsError
from detailscribe.tools.language.settings import ChatSettings

from ..diffusion.test_endpoint import endpoint as endpoint
from ..diffusion.test_endpoint import painted, refusal, reply, sending
from .fakes import FakeDiffusion, critique, population, record, roles

FIRST = record("00-00")
HOW = {"operator": "edit", "start_step": 0, "latent": None}
EDITED = record("01-00", "00-00", "refine", **HOW)
AGAIN = record("02-00", "00-00", "refine", **HOW)
PROMPT = "a fox riding a blue bicycle"
EDITS = {"edit": {"kind": "embedded", "mistakes": 0.0}}


@pytest.mark.parametrize(
    ("images", "script", "expected"),
    [
        pytest.param([FIRST], {"00-00": "red"}, ("edit", 0, "00-00"), id="a detail is edited"),
        pytest.param([FIRST], {"00-00": "cat"}, (None, 0, None), id="a missing subject is drawn anew"),
        pytest.param([FIRST], {"00-00": "red holding alone"}, (None, 0, None), id="most is wrong"),
        pytest.param(
            [FIRST, EDITED],
            {"00-00": "red", "01-00": "red cat"},
            ("inject", 4, "00-00"),
            id="a worse edit is undone",
        ),
        pytest.param([FIRST, EDITED], {"00-00": "red alone", "01-00": "red"}, ("edit", 0, "01-00"), id="a gain"),
        pytest.param(
            [FIRST.model_copy(update={"latent": None}), EDITED],
            {"00-00": "red", "01-00": "red"},
            ("edit", 0, "00-00"),
            id="without a latent there are only edits",
        ),
        pytest.param(
            [FIRST, EDITED, AGAIN], {"00-00": "red", "01-00": "red", "02-00": "red"}, (None, 0, None), id="stalled"
        ),
    ],
)
def test_adaptive_chooses_by_failure(images, script, expected):
    people = population(images, script, decided=[image.id for image in images[:-1]])
    [decision] = Adaptive(operator="edit").judge(people)
    [attempt] = decision.attempts
    assert (attempt.operator, attempt.start_step, attempt.source) == expected


@pytest.mark.parametrize(
    ("attempt", "evaluations", "stops"),
    [
        pytest.param(Attempt(source="01-00", operator="edit", prompt="p", seed=1), 56, None, id="an edit is free"),
        pytest.param(Attempt(prompt="p", seed=1), 112, None, id="a drawing is paid for"),
        pytest.param(Attempt(prompt="p", seed=1), 111, "budget_evaluations", id="a drawing is no edit"),
        pytest.param(Attempt(prompt=FIRST.prompt, seed=7), 999, "repeated_attempt", id="the first drawing again"),
    ],
)
def test_after_the_edit_of_a_server_a_drawing_is_what_a_drawing_was(attempt, evaluations, stops):
    edited = EDITED.model_copy(update={"steps": 1, "guidance": 0.0, "evaluations": 0})
    budget = Budget(evaluations=evaluations)
    people = population([FIRST, edited], {}, decided=["00-00"], budget=budget)
    [decision] = allowed([Decision(image="01-00", rule="test", reason="test", attempts=(attempt,))], people)
    assert (decision.rule, len(decision.attempts)) == ((stops, 0) if stops else ("test", 1))


def test_what_an_edit_costs_is_learned_from_edits():
    first = EDITED.model_copy(update={"evaluations": 4, "steps": 4, "money": 0.5, "seconds": 3.0})
    people = population([FIRST, first], {}, decided=["00-00"])
    edit = Attempt(source="00-00", operator="edit", prompt="p", seed=1)
    cost = costs(people)(edit, "01-00")
    assert (cost.evaluations, cost.money, cost.seconds) == (4, 0.5, 3.0)
    cost = costs(people)(Attempt(prompt="p", seed=1), "01-00")
    assert (cost.evaluations, cost.money, cost.seconds) == (56, 0.0, 0.25)
    assert costs(population([FIRST], {}))(edit, "00-00").evaluations == 56  # nothing is known of edits yet


def test_a_person_who_refines_what_a_server_made_has_it_edited():
    people = population([FIRST, EDITED], {"01-00": "red"}, decided=["00-00"])
    assert [meant("refine", people, image).attempts[0].operator for image in (FIRST, EDITED)] == ["inject", "edit"]


def test_an_instruction_says_what_to_change_where_and_what_to_keep():
    people = population([FIRST], {"00-00": "red"})
    wrong = Verdict(check="red", answer="fail", evidence="it is\nblue", boxes=((0, 0.7, 0.3, 1),))
    settled = Verdict(check="holding", answer="fail", settled_by="cat")  # with which its parent is mended
    mine = {"red": wrong, "holding": settled}
    verdicts = tuple(mine.get(v.check, v) for v in people.critiques["00-00"].verdicts)
    seen = people.critiques["00-00"].model_copy(update={"verdicts": verdicts})
    text = instruction(people.model_copy(update={"critiques": {"00-00": seen}}), FIRST)
    assert "It should show: a corrected prompt" in text
    assert "- Is the umbrella red? it is blue (lower left of the picture)" in text.partition("To keep")[0]
    assert "- Is there a cat?" in text.partition("To keep")[2]
    assert "Does the cat hold it?" not in text


def test_an_edit_that_was_tried_is_tried_with_another_seed():
    people = population([FIRST], {"00-00": "red"})
    wanted = {"source": FIRST, "operator": "edit", "start_step": 4}
    first = refine_anew(people, FIRST, "next_round", "so", **wanted)
    made = record("01-00", "00-00", "refine", **HOW, prompt=first.attempts[0].prompt)
    later = population([FIRST, made], {"00-00": "red", "01-00": "red"}, decided=["00-00"])
    again = refine_anew(later, made, "next_round", "so", **wanted)
    assert (first.attempts[0].operator, again.attempts[0].operator) == ("edit", "edit")
    assert first.attempts[0].seed != again.attempts[0].seed


def test_adaptive_edits_where_the_settings_name_an_editor():
    assert "operator" not in load_settings({}).run.policy_args
    assert load_settings(EDITS).run.policy_args == {"operator": "edit"}
    assert (
        load_settings(EDITS, {"run": {"policy_args": {"operator": "inject"}}}).run.policy_args["operator"] == "inject"
    )
    assert load_settings(EDITS, {"run": {"policy": "best_of_n"}}).run.policy_args == {}


def test_adaptive_edits_in_experiments_and_rows_of_a_batch_too():
    def made(**settings):
        table = {"question": "?", "prompts": {"texts": [PROMPT]}, "settings": settings}
        table["policies"] = [
            {"policy": "adaptive"},
            {"policy": "adaptive", "label": "own", "args": {"operator": "inject"}},
        ]
        return [variant.resolved.operator for variant in make_experiment("a", table, Path()).variants]

    assert (made(), made(**EDITS)) == (["inject", "inject"], ["edit", "inject"])
    request = JobRequest(prompt=PROMPT, policy="adaptive")
    for settings, operator in (({}, "inject"), (EDITS, "edit")):
        assert job_of(request, Adaptive(), load_settings(settings)).policy.operator == operator


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"kind": "endpoint"}, "name the model that edits"),
        ({"model": "x"}, "edit.model has no effect"),
        ({"kind": "embedded", "mistakes": 1.5}, "less than or equal to 1"),
        ({"kind": "brush"}, "edit.kind"),
    ],
)
def test_settings_that_cannot_work_are_refused(edit, says):
    with pytest.raises(SettingsError, match=says):
        load_settings({"edit": edit})


def test_a_model_that_cannot_edit_is_found_before_anything_is_spent(tmp_path):
    finding = next(look_at_diffusion(load_settings({"edit": {"kind": "self"}})))
    assert (finding.status, finding.text) == (
        "problem",
        "a StableDiffusion3Pipeline takes no picture to edit: name a model that does with edit.model",
    )
    (tmp_path / "model_index.json").write_text('{"_class_name": "QwenImageLayeredPipeline"}')
    finding = next(look_at_diffusion(load_settings({"edit": {"kind": "pipeline", "model": str(tmp_path)}})))
    assert (finding.status, finding.text[:42]) == ("problem", "a QwenImageLayeredPipeline takes layers: h")
    finding = next(look_at_diffusion(load_settings({"edit": {"kind": "embedded"}})))
    assert (finding.status, finding.text) == ("ok", "a painter that is no trained model")


def test_a_run_edits_with_the_painter_and_says_what_it_is(tmp_path):
    chosen = {"out": tmp_path / "a", "policy": "multi_round", "policy_args": {"operator": "edit", "rounds": 2}}
    found = run(PROMPT, settings={**EDITS, "run": {**chosen, "steps": 4}}, critic=Blind())
    edits = [image for image in found.result.images if image.operator == "edit"]
    assert edits
    assert all(image.latent is None and "no trained model" in image.model for image in edits)


class Blind:
    """Finds a detail wrong, whatever the picture."""

    async def critique(self, image, concepts, store):
        wrong = next(check.id for check in concepts.checks if check.aspect == "attribute")
        verdicts = [Verdict(check=c.id, answer="fail" if c.id == wrong else "pass") for c in concepts.checks]
        return critique(image.id).model_copy(update={"verdicts": tuple(verdicts)})


def test_a_run_keeps_everything_when_an_edit_fails_and_goes_on_later(tmp_path, endpoint):
    server = {"kind": "endpoint", "model": "edit-1", "url": f"{endpoint.url}/v1", "key": "k"}
    settings = {
        "edit": server,
        "run": {"out": tmp_path / "a", "steps": 4, "budget": {"rounds": 1}, "policy_args": {"images": 1}},
    }
    sent = {"picture": painted(64, 32)}
    endpoint.answer = lambda asked: reply(b64_json=base64.b64encode(sent["picture"]).decode())
    with pytest.raises(ReplyError, match=r"\Aedit-1@.* edited .* came back as one of another shape, 64 by 32"):
        run(PROMPT, settings=settings, critic=Blind())
    assert (tmp_path / "a/images/00-00.png").is_file()
    assert not (tmp_path / "a/images/01-00.png").exists()
    sent["picture"] = painted(288, 288)
    again = resume(tmp_path / "a", critic=Blind())
    assert [image.operator for image in again.result.images] == [None, "edit"]
    assert (again.result.images[1].width, "Change this picture" in endpoint.asked[-1]["prompt"]) == (144, True)


FAULTS = {
    "another shape": (sending(painted(64, 32)), "came back as one of another shape, 64 by 32"),
    "a URL of another server": (lambda asked: reply(url="http://127.0.0.1:9/x.png"), "lies on another server"),
    "a refusal": (refusal(400, "rejected by our safety system"), "rejected by our safety system"),
    "animated": (sending(painted(8, 8, "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8))])), "animated"),
    "enormous": (sending(painted(6000, 4000)), "pixels are more than"),
    "no picture": (sending(b"<html>not here</html>"), "no picture of PNG, JPEG, WEBP"),
    "no base64": (lambda asked: reply(b64_json="!"), "none of an images endpoint"),
    "no JSON": (lambda asked: (200, b"<html>not here</html>"), "none of an images endpoint"),
    "a list": (lambda asked: (200, []), "no picture"),
    "500": (refusal(500, "oops"), "answered 500"),
    "a hang": (lambda asked: (time.sleep(1), reply(b64_json=""))[1], "timed out after 0.3 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_an_edit_server_sends_is_one_line_and_the_run_goes_on_later(tmp_path, endpoint, fault):
    server = {"model": "edit-1", "base_url": f"{endpoint.url}/v1", "transport_retries": 0, "timeout": 0.3}
    edits, draws = (
        EndpointDiffusion(ChatSettings(**server)),
        FakeDiffusion(writes_latents=True),
    )
    models = roles({"00-00": "red"}, diffusion=WithEditor(draws, edits))
    endpoint.answer, reason = FAULTS[fault]
    with pytest.raises(ReplyError, match=r"\Aedit-1@.* edited no picture: ") as caught:
        run(PROMPT, policy=Adaptive(images=1, operator="edit"), out=tmp_path / "a", **models)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [*read_run(tmp_path / "a").images] == ["00-00"]
    assert [path.name for path in (tmp_path / "a/images").iterdir()] == ["00-00.png"]
    endpoint.answer = sending(painted(8, 8))
    found = resume(tmp_path / "a", policy=Adaptive(images=1, operator="edit"), **models).result
    assert [(image.id, image.operator) for image in found.images] == [("00-00", None), ("01-00", "edit")]
    assert (len(draws.requests), found.stop) == (1, "all_pass")


def test_report_and_terminal_say_where(tmp_path):
    found = run(PROMPT, settings={"run": {"out": tmp_path / "a", "steps": 4, "policy": "best_of_n"}}, critic=Pointing())
    page = (tmp_path / "a/report.html").read_text()
    assert 'style="left:50.00%;top:75.00%;width:25.00%;height:25.00%"' in page
    assert "&lt;it&gt; is green" in page.partition('class="box fail"')[2][:400]
    assert "box: lower middle</small>" in page
    screen = io.StringIO()
    PlainConsole(file=screen, width=200).print(story(read_run(found.folder)))
    assert re.search(r"fails .*\(lower middle\)", screen.getvalue())


class Pointing(Blind):
    """Says where the detail is that it finds wrong, in words that are no markup."""

    async def critique(self, image, concepts, store):
        seen = await super().critique(image, concepts, store)
        where = {"boxes": ((0.5, 0.75, 0.75, 1.0),), "evidence": "<it> is green"}
        verdicts = [v if v.answer == "pass" else v.model_copy(update=where) for v in seen.verdicts]
        return seen.model_copy(update={"verdicts": tuple(verdicts)})
