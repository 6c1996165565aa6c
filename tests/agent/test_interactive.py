"""A person as the judge: asked after each round with what is proposed, at the keyboard or by a function."""

import signal
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from detailscribe.agent import Adaptive, TerminalAsker, build_graph, history, read_run, resume, run, serializer
from detailscribe.agent.policies import PolicyError, reseed, stop
from detailscribe.agent.records.events import Decided
from detailscribe.state import Budget
from detailscribe.tools.errors import Interrupted, SettingsError

from .fakes import PROMPT, FakeDiffusion, context, roles

SCRIPT = {"00-00": "red holding", "01-00": "red", "02-00": "holding"}
ONE = Adaptive(images=1)


def asked_run(tmp_path, ask, **changes):
    given = roles(SCRIPT, diffusion=FakeDiffusion(writes_latents=True))
    return run(PROMPT, **(given | {"out": tmp_path / "run", "policy": ONE, "seed": 7, "ask": ask} | changes))


def accept_all(question):
    return None


class Answers:
    """A keyboard: answers in turn; what is said is noted."""

    def __init__(self, *answers):
        self.answers, self.said = list(answers), []

    def read(self, prompt):
        self.said.append(prompt)
        return self.answers.pop(0)

    def asker(self):
        return TerminalAsker(self.said.append, self.read)


def test_who_lets_every_proposal_stand_gets_what_the_policy_would_have_done(tmp_path):
    alone = asked_run(tmp_path, None, out=tmp_path / "alone", budget=Budget(rounds=2))
    guided = asked_run(tmp_path, accept_all, budget=Budget(rounds=2))
    assert guided.decisions == alone.decisions
    assert guided.result.images == alone.result.images


def test_a_function_sees_the_images_and_the_proposal_and_decides_otherwise(tmp_path):
    rounds = []

    def ask(question):
        [image] = question.population.pending()
        assert (question.folder / image.path).exists()
        rounds.append([(d.image, d.action) for d in question.proposed])
        if image.round == 0:
            return [reseed(question.population, image, "person", "another face", prompt="a tabby")]
        return [stop(image, "person", "I like it")]

    done = asked_run(tmp_path, ask)
    assert rounds == [[("00-00", "refine")], [("01-00", "refine")]]
    assert [(d.image, d.action, d.rule, d.reason) for d in done.decisions] == [
        ("00-00", "reseed", "person", "another face"),
        ("01-00", "stop", "person", "I like it"),
    ]
    assert done.images[1].record.prompt == "a tabby"
    assert done.stop == "person"


def test_the_answer_may_be_awaited(tmp_path):
    async def ask(question):
        return [stop(image, "person", "enough") for image in question.population.pending()]

    assert asked_run(tmp_path, ask).stop == "person"


def test_the_trace_tells_each_decision_once(tmp_path):
    done = asked_run(tmp_path, accept_all, budget=Budget(rounds=2))
    recorded = read_run(done.folder)
    assert [e.decision for e in recorded.events if isinstance(e, Decided)] == list(done.decisions)
    started = [e.task for e in recorded.events if e.type == "node_started"]
    assert sorted(started) == sorted(e.task for e in recorded.events if e.type == "node_finished")


def test_a_run_that_was_cut_off_while_it_asked_asks_again(tmp_path):
    def hang_up(question):
        if question.population.round == 1:
            raise RuntimeError("the line went dead")

    with pytest.raises(RuntimeError, match="went dead"):
        asked_run(tmp_path, hang_up)
    asked, diffusion = [], FakeDiffusion(writes_latents=True)

    def ask(question):
        asked.append(question.population.round)
        return [stop(image, "person", "enough") for image in question.population.pending()]

    done = resume(tmp_path / "run", policy=ONE, ask=ask, **roles(SCRIPT, diffusion=diffusion))
    assert (asked, diffusion.requests, done.stop) == ([1], [], "person")
    assert ("person",) in [step.next for step in history(done.folder)]


def test_without_anybody_to_ask_the_run_says_how_to_go_on(tmp_path):
    def hang_up(question):
        raise RuntimeError("the line went dead")

    with pytest.raises(RuntimeError):
        asked_run(tmp_path, hang_up)
    with pytest.raises(SettingsError, match=r"waits for a person after round 0: go on with detailscribe resume"):
        resume(tmp_path / "run", policy=ONE, **roles(SCRIPT))


def test_a_decision_about_another_image_is_refused(tmp_path):
    def confused(question):
        return [
            stop(image.model_copy(update={"id": "99-99"}), "person", "x") for image in question.population.pending()
        ]

    with pytest.raises(PolicyError, match="99-99"):
        asked_run(tmp_path, confused)


def test_a_person_needs_checkpoints_to_be_waited_for(tmp_path):
    with pytest.raises(SettingsError, match=r"run\.checkpoints is off"):
        asked_run(tmp_path, accept_all, settings={"run": {"checkpoints": "off"}})


def test_at_the_keyboard_one_key_an_image_decides(tmp_path):
    keys = Answers("n", "w", "a red umbrella, held", "s")
    done = asked_run(tmp_path, keys.asker())
    assert [(d.action, d.rule) for d in done.decisions] == [
        ("reseed", "person"),
        ("refine", "person"),
        ("stop", "person"),
    ]
    assert done.images[2].record.prompt == "a red umbrella, held"
    assert "  fail: Is the umbrella red?" in keys.said
    assert f"00-00  {done.folder / 'images' / '00-00.png'}" in keys.said
    assert any(line.startswith("  proposed: refine (few_checks_fail)") for line in keys.said)


def test_ctrl_c_at_a_question_stops_there_and_the_run_asks_it_again(tmp_path):
    def press(prompt):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=r"stopped at the question; go on with: detailscribe resume .*run$"):
        asked_run(tmp_path, TerminalAsker(lambda line: None, press))
    cut = read_run(tmp_path / "run")
    assert (cut.status, cut.interrupted, cut.error) == ("unfinished", True, None)
    keys = Answers("s")
    done = resume(tmp_path / "run", policy=ONE, ask=keys.asker(), **roles(SCRIPT))
    assert (done.stop, len(done.images)) == ("person", 1)


def test_an_image_that_was_stopped_waits_again_beside_others_and_says_so(tmp_path):
    keys = Answers("r", "s", "s", "s")
    asked_run(tmp_path, keys.asker(), policy=Adaptive(images=2))
    assert keys.said.count("  you said before: stop") == 1


def test_enter_takes_the_proposal_and_another_key_is_asked_again(tmp_path):
    keys = Answers("x", "", "s")
    done = asked_run(tmp_path, keys.asker())
    assert [d.rule for d in done.decisions] == ["few_checks_fail", "person"]
    assert any("'x' is none of" in line for line in keys.said)


def test_only_an_interactive_graph_has_a_node_for_the_person():
    assert "person" not in build_graph().get_graph().nodes
    edges = {(e.source, e.target) for e in build_graph(interactive=True).get_graph().edges}
    assert {("critique", "person"), ("person", "refine"), ("person", "finish")} <= edges


@pytest.mark.parametrize(
    "bad",
    [
        *([], "yes", 7, False, {"a": 1}, {"choose": "09-09"}, {"choose": 3}, [{"image": "00-00"}], ["00-00"]),
        [{"image": "99-99", "rule": "person", "reason": "x"}],
    ],
    ids=repr,
)
async def test_an_answer_that_does_not_fit_is_refused_with_the_reason_and_asked_for_again(tmp_path, bad):
    graph, thread = (
        build_graph(InMemorySaver(serde=serializer()), interactive=True),
        {"configurable": {"thread_id": "1"}},
    )
    ours = context(tmp_path, ONE, SCRIPT, budget=Budget(rounds=1))
    for answer, refused in ((None, None), (bad, True), (bad, True)):
        given = {"prompt": PROMPT} if answer is None else Command(resume=answer)
        [question] = (await graph.ainvoke(given, thread, context=ours))["__interrupt__"]
        assert bool(question.value["refused"]) == bool(refused)
        assert question.value["round"] == 0
    plain = [decision.model_dump(mode="json") for decision in question.value["proposed"]]
    state = await graph.ainvoke(Command(resume=plain), thread, context=ours)
    assert state["__interrupt__"][0].value["round"] == 1
    assert (await graph.ainvoke(Command(resume=True), thread, context=ours))["best"] == "01-00"


async def test_a_person_sees_pictures_and_checks_and_may_end_with_an_image_of_their_choice(tmp_path):
    graph, thread = (
        build_graph(InMemorySaver(serde=serializer()), interactive=True),
        {"configurable": {"thread_id": "1"}},
    )
    ours = context(tmp_path, ONE, SCRIPT)
    await graph.ainvoke({"prompt": PROMPT}, thread, context=ours)
    [question] = (await graph.ainvoke(Command(resume=True), thread, context=ours))["__interrupt__"]
    first, second = question.value["images"]
    assert (first["id"], first["waits"], second["waits"]) == ("00-00", False, True)
    assert Path(first["path"]) in list(tmp_path.rglob("00-00.png"))
    assert first["checks"]["Is the umbrella red?"] == "fail"
    state = await graph.ainvoke(Command(resume={"choose": "00-00"}), thread, context=ours)
    assert (state["best"], state["stop"]) == ("00-00", "person")
    assert state["decisions"]["01-00"].reason == "00-00 was chosen"
