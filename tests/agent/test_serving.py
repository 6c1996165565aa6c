"""The graph of ``langgraph.json``: clients choose in JSON, and the models are the server's."""

import asyncio
import json
from importlib import import_module
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Send
from starlette.testclient import TestClient

from detailscribe.agent import Single, make_graph, serving
from detailscribe.agent.settings.loading import load
from detailscribe.agent.settings.models import Models
from detailscribe.tools.errors import DetailScribeError, SettingsError

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, context

SCRIPT = {"00-00": "holding"}


@pytest.fixture
def loads(tmp_path, monkeypatch):
    """How often the server loaded its models, which are fakes; it keeps runs in an empty folder."""
    counted: list[object] = []

    class Fakes(Models):
        def __init__(self, settings) -> None:
            counted.append(settings)
            own = {"decomposer": FakeDecomposer(), "diffusion": FakeDiffusion(), "critic": ScriptedCritic(SCRIPT)}
            super().__init__(settings, **own)

    monkeypatch.setattr(serving, "Models", Fakes)
    monkeypatch.setattr(serving, "load", lambda: load({"run": {"policy": "best_of_n", "policy_args": {"n": 2}}}))
    monkeypatch.chdir(tmp_path)
    return counted


def served():
    graph = make_graph()
    graph.checkpointer = InMemorySaver()
    return graph


async def ask(graph, thread="t", chosen=None):
    return await graph.ainvoke({"prompt": PROMPT}, {"configurable": {"thread_id": thread}}, context=chosen)


async def test_a_client_that_chooses_nothing_has_what_the_server_is_set_to(loads, tmp_path):
    state = await ask(served())
    assert sorted(state["images"]) == ["00-00", "00-01"]
    assert (tmp_path / "runs" / "t" / state["images"][state["best"]].path).is_file()


async def test_a_client_chooses_policy_and_budget_in_json(loads):
    chosen = json.loads('{"policy": "multi_round", "policy_args": {"rounds": 3}, "budget": {"images": 2}}')
    state = await ask(served(), chosen=chosen)
    assert sorted(state["images"]) == ["00-00", "01-00"]
    assert state["best"] == "01-00"


async def test_threads_have_their_own_folders_and_share_the_models(loads, tmp_path):
    graph = served()
    await asyncio.gather(ask(graph, "a"), ask(graph, "b"))
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"a", "b"}
    assert len(loads) == 1


async def test_a_client_can_have_no_module_imported(loads):
    with pytest.raises(SettingsError, match=r"these policies: adaptive, "):
        await ask(served(), chosen={"policy": "os:system"})


async def test_a_choice_that_is_none_is_refused(loads):
    with pytest.raises(SettingsError, match="context: polcy"):
        await ask(served(), chosen={"polcy": "single"})


@pytest.mark.parametrize(
    ("given", "chosen", "complaint"),
    [
        ({"prompt": "a cat " * 5000}, None, "30000 characters"),
        ({"prompt": ""}, None, "the prompt is empty"),
        ({"prompt": None}, None, "should be a text"),
        ({"prompt": ["a cat"]}, None, "should be a text"),
        ({"seed": 1}, None, "the prompt is empty"),
        *(
            ({"prompt": PROMPT, "seed": seed}, None, "the seed should be")
            for seed in (-1, 2**32, "x", None, 1.5, True, [])
        ),
        *(
            (
                {"prompt": PROMPT},
                {"policy": policy, "policy_args": parameters},
                f"{next(iter(parameters))}[.:]",
            )
            for policy, parameters in [
                ("best_of_n", {"n": 200_000}),
                ("best_of_n", {"n": 10**30}),
                ("best_of_n", {"seeds": [0] * 2000}),
                ("adaptive", {"images": 200_000}),
                ("adaptive", {"width": 200_000}),
                ("halving", {"n": 200_000}),
                ("halving", {"rungs": [*range(1, 500)]}),
                ("hybrid", {"parallel": 200_000}),
                ("seed_search", {"n": 200_000}),
                ("random", {"images": 200_000}),
                ("multi_round", {"start_step": [4] * 200}),
                ("single", {"start_step": 10**9}),
                ("paper", {"start_steps": [1] * 200}),
                ("exhaustive", {"drawings": 200_000}),
                ("exhaustive", {"rounds": 200_000}),
                ("exhaustive", {"start_steps": [*range(200)]}),
                ("exhaustive", {"operators": ["inject"] * 200}),
                ("chat_judge", {"images": 200_000}),
                ("chat_judge", {"chat": "x"}),
            ]
        ),
        ({"prompt": PROMPT}, {"policy": 5}, "context: policy"),
        ({"prompt": PROMPT}, {"policy_args": [1]}, "context: policy_args"),
        ({"prompt": PROMPT}, {"budget": {"images": -1}}, "context: budget.images"),
        ({"prompt": PROMPT}, {"budget": {"imags": 1}}, "context: budget.imags"),
    ],
)
async def test_what_a_client_may_not_send_is_refused_in_the_graph_before_anything_is_drawn(
    loads, tmp_path, given, chosen, complaint
):
    with pytest.raises(DetailScribeError, match=complaint) as raised:
        await served().ainvoke(given, {"configurable": {"thread_id": "t"}}, context=chosen)
    assert isinstance(raised.value, RuntimeError)  # whose words a LangGraph server hands on
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("node", ["generate", "refine", "critique", "finish"])
async def test_a_client_cannot_go_to_a_node_past_the_judge(loads, tmp_path, node):
    work = {"attempt": {"prompt": "a cat", "id": "00-00", "seed": 1}, "source": None, "decision": None}
    with pytest.raises(SettingsError, match="from the node before it"):
        await served().ainvoke(Command(goto=Send(node, work)), {"configurable": {"thread_id": "t"}})
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("thread", ["../evil", "/tmp/evil", "..", ".", "a/b", "", "a\0b"])
async def test_the_id_of_a_thread_leads_nowhere_else(loads, thread):
    with pytest.raises(SettingsError, match="id of a thread"):
        await ask(served(), thread)


@pytest.mark.parametrize(
    ("asked", "images"),
    [({"images": 40}, 3), ({"images": 2}, 2), ({"rounds": 100}, 3), ({"images": 40, "critic_calls": 1}, 1)],
)
async def test_the_servers_bounds_are_the_ceiling_of_each_of_a_clients(loads, monkeypatch, asked, images):
    monkeypatch.setattr(serving, "load", lambda: load({"run": {"budget": {"images": 3, "rounds": 1}}}))
    chosen = {"policy": "best_of_n", "policy_args": {"n": 40}, "budget": asked}
    assert len((await ask(served(), chosen=chosen))["images"]) == images


async def test_a_client_gives_no_parameters_to_a_policy_of_the_servers_own_code(loads, monkeypatch):
    own = {"run": {"policy": f"{Single.__module__}:Single"}}
    monkeypatch.setattr(serving, "load", lambda: load(own))
    assert (await ask(served(), "a"))["best"]
    with pytest.raises(SettingsError, match="these policies"):
        await ask(served(), "b", {"policy_args": {"start_step": 1}})


async def test_objects_of_a_python_caller_go_before_the_servers(loads, tmp_path):
    own = context(tmp_path / "own", policy=Single(), script={})
    state = await ask(served(), chosen=own)
    assert sorted(state["images"]) == ["00-00"]
    assert (tmp_path / "own" / state["images"]["00-00"].path).is_file()


def test_a_server_can_tell_what_the_graph_takes():
    graph = make_graph()
    assert set(graph.get_input_jsonschema()["properties"]) == {"prompt", "seed"}
    schema = graph.get_context_jsonschema()
    assert "properties" not in schema  # or the server would drop keys that are not among them
    assert set(schema["$defs"]["Chosen"]["properties"]) == {"policy", "policy_args", "budget"}
    assert "best" in graph.get_output_jsonschema()["properties"]


def test_the_file_names_graphs_and_routes_that_are_there():
    named = json.loads((Path(__file__).parents[2] / "langgraph.json").read_text())

    def found(place):
        module, attribute = place.split(":")
        return getattr(import_module(module), attribute)

    alone, asking = (found(place)() for place in named["graphs"].values())
    assert asking.nodes.keys() - alone.nodes.keys() == {"person"}
    assert [route.path for route in found(named["http"]["app"]).routes] == ["/images/{thread}/{path:path}"]


def test_images_of_a_thread_can_be_fetched_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("runs/t1/abc/images/00-00.png", "runs/t1/abc/latents/00-00.safetensors", "secret.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"\x89PNG")
    Path("runs/t1/link.png").symlink_to(tmp_path / "secret.png")
    client = TestClient(import_module("detailscribe.agent.serving").app)
    got = client.get("/images/t1/abc/images/00-00.png")
    assert (got.status_code, got.headers["content-type"], got.content) == (200, "image/png", b"\x89PNG")
    for path in (
        *("t1/abc/images/09-00.png", "t1/abc/latents/00-00.safetensors", "t1/link.png", "t1/abc", "t2/00-00.png"),
        *("t1/%2e%2e/%2e%2e/secret.png", "%2e%2e/secret.png", "t1/%2fetc%2fpasswd", f"t1/{tmp_path}/secret.png"),
    ):
        assert client.get(f"/images/{path}").status_code == 404
