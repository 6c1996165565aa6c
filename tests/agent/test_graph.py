"""The path that a run takes through the graph, and what it comes to."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from detailscribe.agent import Adaptive, BestOfN, FunctionPolicy, Single, build_graph, recursion_limit
from detailscribe.agent.policies import PolicyError, refine, reseed, stop
from detailscribe.state import Budget, Plan, derive_seed
from detailscribe.tools.errors import SettingsError

from .fakes import PROMPT, FakeDiffusion, context

ALL = "cat umbrella red holding alone"
ONE_FIRST = Adaptive(images=1)


async def invoke(context, seed=7, checkpointer=None, **config):
    """The final state, and the nodes in the order they began."""
    path, state = [], {}
    stream = build_graph(checkpointer).astream(
        {"prompt": PROMPT, "seed": seed}, config, context=context, stream_mode=["tasks", "values"], version="v2"
    )
    async for part in stream:
        if part["type"] == "values":
            state = part["data"]
        elif isinstance(part["data"].get("input"), dict):  # a node; the calls of roles inside have a tuple
            path.append(part["data"]["name"])
    return state, path


def summary(state):
    return {id: (d.action, d.rule) for id, d in state["decisions"].items()}


async def test_a_right_first_drawing_ends_the_run(tmp_path):
    state, path = await invoke(context(tmp_path, ONE_FIRST, {}))
    assert path == ["decompose", "generate", "critique", "finish"]
    assert summary(state) == {"00-00": ("stop", "all_pass")}
    assert (state["best"], state["stop"], state["round"]) == ("00-00", "all_pass", 0)


async def test_single_resumes_the_trajectory_once_and_stops(tmp_path):
    diffusion = FakeDiffusion()
    state, path = await invoke(context(tmp_path, Single(), {"00-00": "red", "01-00": "holding"}, diffusion=diffusion))
    assert path == ["decompose", "generate", "critique", "refine", "critique", "finish"]
    assert summary(state) == {"00-00": ("refine", "first_critique"), "01-00": ("stop", "refined_once")}
    first, second = diffusion.requests
    assert (first.keep_steps, second.operator, second.start_step) == ((2,), "resume", 2)
    assert (second.prompt, second.seed, second.source) == ("a corrected prompt", 7, "00-00")


async def test_best_of_n_draws_from_seeds_of_their_own_and_refines_nothing(tmp_path):
    diffusion = FakeDiffusion()
    script = {"00-00": "red", "00-01": "red", "00-02": "", "00-03": ALL}
    state, path = await invoke(context(tmp_path, BestOfN(n=4), script, diffusion=diffusion))
    assert path == ["decompose", *["generate"] * 4, "critique", "finish"]
    assert (state["best"], state["stop"]) == ("00-02", "best_of_n")
    assert [r.seed for r in diffusion.requests] == [7, *(derive_seed(7, f"00-0{i}") for i in (1, 2, 3))]


async def test_adaptive_refines_draws_anew_and_ends_when_all_checks_pass(tmp_path):
    script = {"00-00": "cat holding", "01-00": "red", "02-00": ""}
    state, path = await invoke(context(tmp_path, ONE_FIRST, script))
    assert path == ["decompose", "generate", "critique", "generate", "critique", "refine", "critique", "finish"]
    assert summary(state) == {
        "00-00": ("reseed", "subject_missing"),
        "01-00": ("refine", "few_checks_fail"),
        "02-00": ("stop", "all_pass"),
    }
    assert [i.origin for i in state["images"].values()] == ["generate", "reseed", "refine"]
    assert state["images"]["01-00"].parent == "00-00"


async def test_the_best_image_of_an_earlier_round_is_kept(tmp_path):
    script = {"00-00": "red", "01-00": "red holding", "02-00": ALL}
    state, _ = await invoke(context(tmp_path, ONE_FIRST, script, budget=Budget(rounds=2)))
    assert state["best"] == "00-00"
    assert state["stop"] == "budget_rounds"
    assert state["decisions"]["02-00"].rule == "budget_rounds"


@pytest.mark.parametrize("policy", [Single(), Adaptive(), Adaptive(images=3, width=2), BestOfN(n=5)], ids=repr)
@pytest.mark.parametrize("fails", ["", "red", "cat", ALL])
async def test_every_image_has_exactly_one_decision(tmp_path, policy, fails):
    state, _ = await invoke(context(tmp_path, policy, lambda image: fails))
    assert state["decisions"].keys() == state["images"].keys() == state["critiques"].keys()
    assert all(id == decision.image for id, decision in state["decisions"].items())
    assert state["best"] in state["images"]


def draw_for_ever(population):
    return [reseed(population, image, "again", "it likes to draw") for image in population.pending()]


class Greedy(FunctionPolicy):
    """Three first drawings, and as many again in every round."""

    def plan(self, concepts):
        return Plan(images=3)


@pytest.mark.parametrize("policy", [FunctionPolicy(draw_for_ever), Greedy(draw_for_ever)], ids=["one", "three"])
@pytest.mark.parametrize(
    ("budget", "rule"),
    [
        (Budget(rounds=0), "budget_rounds"),
        (Budget(rounds=3), "budget_rounds"),
        (Budget(rounds=90, images=1), "budget_images"),
        (Budget(rounds=90, images=9), "budget_images"),
        (Budget(rounds=90, images=900, evaluations=5 * 56), "budget_evaluations"),
        (Budget(rounds=90, images=900, evaluations=5 * 56 + 55), "budget_evaluations"),
        (Budget(rounds=90, images=900, critic_calls=4), "budget_critic_calls"),
        (Budget(rounds=90, images=900, seconds=1.0), "budget_seconds"),
    ],
    ids=str,
)
async def test_a_policy_that_never_stops_is_stopped_by_the_budget(tmp_path, policy, budget, rule):
    limit = recursion_limit(budget)
    chosen = context(tmp_path, policy, lambda image: "red", budget=budget)
    state, path = await invoke(chosen, recursion_limit=limit)
    assert state["stop"] == rule
    assert path.count("generate") == len(state["images"]) <= budget.images
    assert sum(i.evaluations for i in state["images"].values()) <= (budget.evaluations or 10**9)
    assert len(state["critiques"]) <= (budget.critic_calls or 10**9)


async def test_critiques_and_decisions_are_streamed_when_they_are_made(tmp_path):
    graph, order = build_graph(), []
    ours = context(tmp_path, Single(), {"00-00": "red"})
    async for mode, part in graph.astream({"prompt": PROMPT}, context=ours, stream_mode=["custom", "updates"]):
        if mode == "updates":
            order += part
        elif part["type"] != "denoising":
            order.append((part["type"], part["image"]))
    told = [one for one in order if isinstance(one, tuple)]
    assert told == [(kind, image) for image in ("00-00", "01-00") for kind in ("critique", "decision")]
    assert order.index(told[0]) < order.index("critique")
    assert order.index(told[1]) < order.index("refine")


class WorstFirst:
    """Refines the worse of two drawings; the better one waits."""

    def plan(self, concepts):
        return Plan(images=2)

    def judge(self, population):
        worst, best = sorted(population.pending(), key=population.rank)
        waiting = stop(best, "outranked", "another comes first").model_copy(update={"notes": "value 0.4"})
        return [refine(population, worst, "again", "x", operator="inject", start_step=4), waiting]


async def test_a_run_that_the_budget_ends_says_so_also_where_the_best_image_waited_for_its_turn(tmp_path):
    script = {"00-00": "red holding", "00-01": "red"}
    state, _ = await invoke(context(tmp_path, WorstFirst(), script, budget=Budget(images=2)))
    assert (state["best"], state["stop"]) == ("00-01", "budget_images")
    assert state["decisions"]["00-01"].notes == "value 0.4"


async def test_the_recursion_limit_is_no_larger_than_it_must_be(tmp_path):
    budget = Budget(rounds=3)
    chosen = context(tmp_path, FunctionPolicy(draw_for_ever), lambda image: "red", budget=budget)
    with pytest.raises(RecursionError, match="Recursion limit"):
        await invoke(chosen, recursion_limit=recursion_limit(budget) - 2)  # one is for the outcome under a name


async def test_the_images_of_a_round_share_what_is_left_in_the_policys_order(tmp_path):
    def all_anew(population):
        return [reseed(population, image, "again", "more") for image in reversed(population.pending())]

    state, _ = await invoke(context(tmp_path, Greedy(all_anew), {}, budget=Budget(images=5)))
    assert [state["images"][id].parent for id in ("01-00", "01-01")] == ["00-02", "00-01"]
    assert state["decisions"]["00-00"].rule == "budget_images"


async def test_a_policy_that_answers_for_another_image_is_named_as_the_cause(tmp_path):
    def confused(population):
        return [stop(image.model_copy(update={"id": "99-99"}), "done", "x") for image in population.pending()]

    with pytest.raises(PolicyError, match="99-99"):
        await invoke(context(tmp_path, FunctionPolicy(confused), {}))


async def test_without_a_context_the_graph_says_what_it_needs():
    with pytest.raises(SettingsError, match=r"context=Context"):
        await build_graph().ainvoke({"prompt": PROMPT})


def test_the_drawing_shows_every_node_and_labels_every_exit():
    drawing = build_graph().get_graph()
    edges = {(e.source, e.target): (e.data or "").strip() for e in drawing.edges}
    assert edges == {
        ("__start__", "decompose"): "",
        ("decompose", "generate"): "plan",
        ("generate", "critique"): "",
        ("refine", "critique"): "",
        ("critique", "refine"): "refine",
        ("critique", "generate"): "reseed",
        ("critique", "finish"): "stop",
        ("finish", "__end__"): "",
    }


async def test_a_broken_run_goes_on_from_its_checkpoint(tmp_path):
    saver, script = InMemorySaver(), {"00-00": "red"}
    config = {"configurable": {"thread_id": "t"}}
    with pytest.raises(RuntimeError, match="the model broke"):
        await invoke(
            context(tmp_path, ONE_FIRST, script, diffusion=FakeDiffusion(breaks_at="01-00")), 7, saver, **config
        )
    mended = FakeDiffusion()
    state = await build_graph(saver).ainvoke(
        None, config, context=context(tmp_path, ONE_FIRST, script, diffusion=mended)
    )
    assert [request.id for request in mended.requests] == ["01-00"]
    assert (state["best"], state["stop"]) == ("01-00", "all_pass")
