"""A critic that gave no usable answer is another thing than a picture that fails: nothing is decided on silence."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import read_run, resume, run, run_batch
from detailscribe.agent.cli import app
from detailscribe.agent.policies import Adaptive, BestOfN, stop
from detailscribe.agent.records.events import Decided
from detailscribe.agent.views.live import row_in_words, tally_in_words
from detailscribe.state import Budget, Critique, Verdict
from detailscribe.tools.diffusion.job import pixel_digest
from detailscribe.tools.errors import NoAnswerError

from .fakes import CHECKS, PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, critique, roles, stand_in

REASON = "the server said: rate limit reached"


class Silent(ScriptedCritic):
    """Gives no answer about some checks of some images, by image id or prompt; notes what it is asked."""

    def __init__(self, silent, script=None):
        super().__init__(script or {})
        self.silent, self.asked = silent, []

    async def critique(self, image, concepts, store):
        self.asked.append(image.id)
        lost = self.silent.get(image.id, self.silent.get(image.prompt, self.silent.get("", "")))
        seen = critique(image.id, self.script.get(image.id, ""))
        return Critique(
            image=image.id,
            verdicts=tuple(
                Verdict(check=v.check, answer="unknown", reason=REASON, heard=False) if v.check in lost.split() else v
                for v in seen.verdicts
            ),
        )


ALL = " ".join(CHECKS)


class Digested(FakeDiffusion):
    """With the digest of its pictures, as models have it."""

    async def draw(self, attempt, store, *, source=None, progress=None):
        made = await super().draw(attempt, store, source=source, progress=progress)
        with Image.open(store.path(made.path)) as picture:
            return made.model_copy(update={"digest": pixel_digest(picture)})


def test_a_run_whose_critic_is_never_heard_fails_with_the_reason_and_asks_again_when_it_is_resumed(tmp_path):
    folder, first, second = tmp_path / "run", FakeDiffusion(writes_latents=True), FakeDiffusion()
    with pytest.raises(NoAnswerError, match=f"10 checks unknown.*{REASON}") as raised:
        run(PROMPT, out=folder, policy=BestOfN(n=2), **roles({}, diffusion=first, critic=Silent({"": ALL})))
    assert "\n" not in str(raised.value)
    assert len(list(folder.glob("images/*.png"))) == 2
    with pytest.raises(NoAnswerError):
        resume(folder, policy=BestOfN(n=2), **roles({}, diffusion=second, critic=Silent({"": ALL})))
    critic = Silent({})
    done = resume(folder, policy=BestOfN(n=2), **roles({}, diffusion=second, critic=critic))
    assert (done.best.critique.all_pass, sorted(critic.asked), second.requests) == (True, ["00-00", "00-01"], [])
    assert read_run(folder).status == "finished"


def test_the_command_line_says_it_in_one_line_and_ends_with_2(tmp_path, monkeypatch):
    stand_in(FakeDecomposer, FakeDiffusion, lambda: Silent({"": ALL}), put=monkeypatch.setattr)
    done = CliRunner().invoke(app, ["run", PROMPT, "--out", str(tmp_path / "run"), "--quiet"])
    assert done.exit_code == 2
    assert REASON in done.output.splitlines()[-1]
    assert (tmp_path / "run" / "images" / "00-00.png").exists()


def test_no_policy_decides_on_an_image_about_which_the_critic_was_not_heard(tmp_path):
    shown = []

    class Watching(BestOfN):
        def judge(self, population):
            shown.append([image.id for image in population.pending()])
            return [stop(image, "seen", "test") for image in population.pending()]

    critic = Silent({"00-01": ALL}, {"00-00": ALL})
    done = run(PROMPT, out=tmp_path / "run", policy=Watching(n=2), **roles({}, critic=critic))
    assert shown == [["00-00"]]
    assert {d.image: d.rule for d in done.decisions} == {"00-00": "seen", "00-01": "not_heard"}
    assert done.best.record.id == "00-00", "of one that fails everything and one that nobody looked at"
    decided = [event for event in read_run(tmp_path / "run").events if isinstance(event, Decided)]
    assert REASON in next(event.decision.reason for event in decided if event.image == "00-01")


PROMPTS = ["a cat, never heard", "a cat, in part", "a cat, heard"]
LOST = {PROMPTS[0]: ALL, PROMPTS[1]: "red alone"}


def batch(folder, critic, diffusion, **changes):
    chosen = roles({}, critic=critic, diffusion=diffusion)
    return run_batch(PROMPTS, out=folder, policy=BestOfN(n=1), budget=Budget(images=1), **chosen, **changes)


def test_rows_say_what_is_unknown_and_why_and_such_prompts_are_run_again(tmp_path):
    first = batch(tmp_path / "b", Silent(LOST), Digested(writes_latents=True))
    never, partly, heard = sorted(first.rows(), key=lambda row: PROMPTS.index(row.prompt))
    assert (never.status, never.error) == ("failed", "NoAnswerError")
    assert REASON in never.message
    assert (never.unheard, never.unknown_because) == (5, REASON)
    assert (partly.status, partly.passed, partly.unknown, partly.unheard) == ("done", 3, 2, 2)
    assert partly.unknown_because == REASON
    assert (heard.unknown, heard.unheard, heard.unknown_because) == (0, 0, None)
    assert f"2 unknown ({REASON})" in row_in_words(partly)
    assert "1 with checks that had no answer" in tally_in_words(first.tally)

    critic, diffusion = Silent({}), Digested(writes_latents=True)
    again = batch(tmp_path / "b", critic, diffusion, retry_failed=True)
    assert (critic.asked, diffusion.requests) == (["00-00"] * 2, []), "drawn once, asked again about two of three"
    assert [(row.status, row.passed, row.unheard) for row in again.rows()] == [("done", 5, 0)] * 3
    assert again.tally.unheard == 0
    assert all(read_run(again.folder / row.run).status == "finished" for row in again.rows())


def test_an_image_whose_file_shows_another_picture_is_drawn_again(tmp_path):
    batch(tmp_path / "b", Silent(LOST), Digested(writes_latents=True))
    row = next(
        row
        for row in batch(tmp_path / "b", Silent(LOST), Digested(writes_latents=True)).rows()
        if row.prompt == PROMPTS[1]
    )
    Image.new("RGB", (8, 8), "green").save(tmp_path / "b" / row.best)
    diffusion = Digested(writes_latents=True)
    batch(tmp_path / "b", Silent({}), diffusion, retry_failed=True)
    assert [request.prompt for request in diffusion.requests] == [PROMPTS[1]]


def test_the_trace_of_a_prompt_that_is_run_again_holds_nothing_of_a_way_that_was_not_taken(tmp_path):
    def way(silent, script, **changes):
        chosen = roles({}, critic=Silent(silent, script), diffusion=Digested(writes_latents=True))
        done = run_batch([PROMPT], out=tmp_path / "b", policy=Adaptive(images=1), **chosen, **changes)
        [row] = done.rows()
        return read_run(done.folder / row.run)

    script = {"00-00": "red alone holding", "01-00": "red", "02-00": "red"}
    first = way({"00-00": "alone holding"}, script)
    again = way({}, script | {"01-00": ""}, retry_failed=True)
    assert list(first.images) == ["00-00", "01-00", "02-00", "03-00"]
    assert list(again.images) == [image.id for image in again.result.images] == ["00-00", "01-00"]
    assert tuple(again.critiques.values()) == again.result.critiques
    assert again.spend == again.result.spend
