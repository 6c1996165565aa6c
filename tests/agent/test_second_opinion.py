"""A policy has the critic look at an image again: an attempt that draws nothing, within the budget and in the trace."""

from dataclasses import dataclass, field
from io import StringIO

import pytest
from rich.console import Console

from detailscribe.agent import FunctionPolicy, PolicyError, arun, decide, read_run, resume, run
from detailscribe.agent.experiments.replay import areplay
from detailscribe.agent.policies import refinement, second_opinion, stop
from detailscribe.agent.views.terminal import story
from detailscribe.state import Budget, Decision, Plan
from detailscribe.tools.vision.wrapping import UnreliableCritic

from .fakes import PROMPT, FakeDiffusion, ScriptedCritic, critique, population, record, roles


@dataclass(frozen=True)
class Doubts:
    """Has every image that fails anything looked at until so many opinions of it are there."""

    opinions: int = 2
    images: int = 1

    def plan(self, concepts):
        return Plan(images=self.images)

    def judge(self, population):
        return [self.decision(population, image) for image in population.pending()]

    def decision(self, population, image):
        looks = population.opinions(image)
        if len(looks) >= self.opinions or looks[-1].all_pass:
            return stop(image, "decided", f"{len(looks)} opinions")
        return Decision(image=image.id, rule="doubt", reason="it fails", attempts=(second_opinion(population, image),))


@dataclass
class Breaks(ScriptedCritic):
    """Breaks at one image."""

    at: str = ""
    asked: list[str] = field(default_factory=list)

    async def critique(self, image, concepts, store):
        self.asked.append(image.id)
        if image.id == self.at:
            raise RuntimeError("the critic broke")
        return await super().critique(image, concepts, store)


def test_a_second_opinion_draws_nothing_costs_a_look_and_stands_in_trace_and_report(tmp_path):
    ours = roles({"00-00": "red"})
    made = run(PROMPT, policy=Doubts(), out=tmp_path / "run", **ours)
    assert [attempt.id for attempt in ours["diffusion"].requests] == ["00-00"]
    assert (made.spend.images, made.spend.critic_calls, made.spend.evaluations) == (1, 2, 56)
    assert made.best.record.id == "00-00"
    assert [decision.action for decision in made.decisions] == ["look", "stop"]
    recorded = read_run(tmp_path / "run")
    seen = recorded.population(1)
    assert [look.passed for look in seen.opinions(seen.images["01-00"])] == [4, 5]
    assert seen.rank(seen.images["00-00"])[0] == pytest.approx(0.9)
    assert recorded.change("01-00").fixed == ("red",)
    assert "looked at again" in made.report.read_text()
    console = Console(width=200, file=StringIO())
    console.print(story(recorded))
    assert "looked at again" in console.file.getvalue()


def test_what_is_seen_again_decides_which_image_is_best(tmp_path):
    fails = {"00-00": "red", "00-01": "red", "01-00": "red holding"}  # the first one is worse at a second look
    made = run(PROMPT, policy=Doubts(images=2), out=tmp_path / "run", **roles(fails))
    assert made.best.record.id == "00-01"


@pytest.mark.parametrize(
    ("budget", "rule"), [({"critic_calls": 3}, "budget_critic_calls"), ({"rounds": 2}, "budget_rounds")], ids=str
)
def test_a_policy_that_never_trusts_its_critic_is_stopped_by_the_budget(tmp_path, budget, rule):
    ours = roles(lambda image: "red")
    made = run(PROMPT, policy=Doubts(opinions=99), budget={"images": 1} | budget, out=tmp_path / "run", **ours)
    assert (made.stop, made.spend.critic_calls, made.spend.images) == (rule, 3, 1)


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_that_broke_at_the_second_look_asks_for_that_one_alone(tmp_path, gone):
    script = {"00-00": "red", "01-00": "holding"}
    ours = roles({}, critic=Breaks(script, at="01-00"), diffusion=FakeDiffusion(writes_latents=True))
    with pytest.raises(RuntimeError, match="the critic broke"):
        run(PROMPT, policy=Doubts(), out=tmp_path / "run", **ours)
    again = Breaks(script)
    if gone:
        (tmp_path / "run" / "images" / "00-00.png").unlink()
    made = resume(tmp_path / "run", policy=Doubts(), **(ours | {"critic": again}))
    assert again.asked == ["01-00"]
    assert [attempt.id for attempt in ours["diffusion"].requests] == ["00-00"] * (1 + gone)
    assert [look.passed for look in made.result.critiques] == [4, 4]


async def test_a_replay_answers_with_the_recorded_opinions_and_says_what_was_never_asked(tmp_path):
    await arun(PROMPT, policy=Doubts(), out=tmp_path / "run", **roles(lambda image: "red"))
    [same] = await areplay(tmp_path / "run", Doubts())
    assert (same.differs, same.missing, same.best) == (None, "", "00-00")
    [more] = await areplay(tmp_path / "run", Doubts(opinions=3))
    assert (more.differs, more.missing) == (1, "another look at 00-00")


def test_several_opinions_and_refinements_can_be_asked_for_at_once():
    images = [record("00-00")]

    def mixed(seeds):
        def policy(seen):
            image = seen.images["00-00"]
            looks = [second_opinion(seen, image, seed=seed) for seed in seeds]
            attempts = (*looks, refinement(seen, image, operator="inject", start_step=4))
            return [Decision(image=image.id, rule="all", reason="x", attempts=attempts)]

        return policy

    for seeds, kept in (((1, 2), 3), ((1, 1), 2), ((None, None), 2)):
        [decision] = decide(population(images, {"00-00": "red"}), FunctionPolicy(mixed(seeds)))
        assert len(decision.attempts) == kept, seeds
    short = population(images, {"00-00": "red"}, budget=Budget(images=1))
    [decision] = decide(short, FunctionPolicy(mixed((1, 2))))
    assert [attempt.operator for attempt in decision.attempts] == ["look", "look"]


def test_a_preview_has_no_second_opinion():
    seen = population([record("00-00", stop_step=4, trajectory={4: "latents/x"})], {"00-00": "red"})
    with pytest.raises(PolicyError, match="only a preview is there: 00-00"):
        decide(seen, FunctionPolicy(lambda seen: [Doubts().decision(seen, image) for image in seen.pending()]))


def test_a_corrected_prompt_is_that_of_the_newest_opinion():
    images = [record("00-00"), record("00-00").again(second_opinion_of("00-00"))]
    looks = [critique("00-00", "red", refined="older"), critique("01-00", "red", refined="newer")]
    seen = population(images, {}, critiques=looks)
    assert refinement(seen, images[0], operator="inject", start_step=4).prompt == "newer"


def second_opinion_of(id):
    seen = population([record(id)], {})
    return second_opinion(seen, seen.images[id], seed=5).model_copy(update={"id": "01-00", "round": 1, "parent": id})


async def test_an_unreliable_critic_errs_anew_at_each_look(tmp_path):
    critic = UnreliableCritic(ScriptedCritic({}), flip=0.5)
    seen, images = population([record("00-00")], {}), [record("00-00")]
    images += [
        images[0].again(second_opinion_of("00-00").model_copy(update={"id": f"{n:02d}-00", "round": n, "seed": n}))
        for n in range(1, 9)
    ]
    looks = [await critic.critique(image, seen.concepts, None) for image in images]
    assert len({look.verdicts for look in looks}) > 2
