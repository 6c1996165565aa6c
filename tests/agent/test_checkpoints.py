"""The state comes back from a checkpointer as the types it went in as, and can be judged again."""

import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from detailscribe.agent import Adaptive, build_graph, decide, load_settings, run
from detailscribe.agent.graph.checkpoints import serializer
from detailscribe.agent.graph.context import population_of
from detailscribe.state import Attempt, Decision, Ruling
from detailscribe.tools.errors import SettingsError

from .fakes import PROMPT, context, record, roles

SCRIPT = {"00-00": "red", "00-01": "cat", "01-00": "red holding", "02-00": "red", "03-00": "red", "04-00": ""}

STRICT = """
import asyncio, sys, warnings
warnings.simplefilter("error")
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fakes import PROMPT, ScriptedCritic, context
from detailscribe.agent import Adaptive, build_graph
from detailscribe.state import Advice, Comparison, ConceptGraph, Critique, Decision, ImageRecord
from langgraph.checkpoint.memory import InMemorySaver

CHANNELS = {"images": ImageRecord, "critiques": Critique, "decisions": Decision, "advice": Advice,
            "comparisons": Comparison}

class Asks(Adaptive):
    chat = property(lambda self: "a chat model")
    async def advise(self, population, chat):
        return Advice(round=population.round, silence="it has nothing to say")

class Compares(ScriptedCritic):
    async def compare(self, first, second, concepts, store):
        return Comparison(first=first.id, second=second.id, better=second.id, reason="newer")

async def main(saver):
    chosen = context(Path(sys.argv[2]), Asks(operator="resume"), {}, critic=Compares(lambda image: "red"))
    config = {"configurable": {"thread_id": "t"}}
    graph = build_graph(saver)
    await graph.ainvoke({"prompt": PROMPT, "seed": 7}, config, context=chosen)
    values = (await graph.aget_state(config)).values
    assert type(values["concepts"]) is ConceptGraph, values["concepts"]
    for name, kind in CHANNELS.items():
        assert values[name] and {type(v) for v in values[name].values()} == {kind}, values[name]
    assert list(values["images"]["00-00"].trajectory) == [1, 2, 4]
    async for snapshot in graph.aget_state_history(config):
        assert all(not isinstance(value, dict) or name in CHANNELS or not value
                   for name, value in snapshot.values.items())

async def sqlite():
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    async with AsyncSqliteSaver.from_conn_string(str(Path(sys.argv[2]) / "runs.sqlite")) as saver:
        await main(saver)

asyncio.run(main(InMemorySaver()) if sys.argv[3] == "memory" else sqlite())
"""


@pytest.mark.parametrize("saver", ["memory", "sqlite"])
def test_strict_serialization_loses_no_type(saver, tmp_path):
    if saver == "sqlite":
        pytest.importorskip("langgraph.checkpoint.sqlite.aio")
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", STRICT, here, str(tmp_path), saver],
        env={"LANGGRAPH_STRICT_MSGPACK": "true", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "unregistered" not in done.stderr.lower()
    assert "blocked" not in done.stderr.lower()


async def test_judging_the_recorded_state_again_gives_the_same_decisions(tmp_path):
    chosen = context(tmp_path, Adaptive(), SCRIPT)
    graph, config = build_graph(InMemorySaver()), {"configurable": {"thread_id": "t"}}
    final = await graph.ainvoke({"prompt": PROMPT, "seed": 7}, config, context=chosen)
    again = {}
    async for snapshot in graph.aget_state_history(config):
        state = snapshot.values
        if state.get("images") and state["images"].keys() == state.get("critiques", {}).keys() and "best" not in state:
            decisions = decide(population_of(state, chosen.budget), chosen.policy)
            working = any(d.action != "stop" for d in decisions)
            again |= {d.image: d for d in decisions if d.action != "stop" or not working}
    assert again == final["decisions"]
    assert len(again) > 3


@pytest.mark.parametrize("where", ["sqlite", "off", "postgresql://localhost/runs", "postgres://me@db:5432/runs"])
def test_checkpoints_lie_in_the_run_folder_nowhere_or_on_a_server(where):
    assert load_settings({"run": {"checkpoints": where}}).run.checkpoints == where


@pytest.mark.parametrize("where", ["postgres", "mysql://localhost/runs", "postgresql://me:word@db/runs", "a/file.db"])
def test_another_place_is_refused_and_a_password_not_repeated(where):
    with pytest.raises(
        SettingsError, match=r"run\.checkpoints: Value error, (this is neither|the URL is stored)"
    ) as error:
        load_settings({"run": {"checkpoints": where}})
    assert "word@" not in str(error.value)


def test_none_in_a_file_means_off():
    assert load_settings({"run": {"checkpoints": "none"}}).run.checkpoints == "off"


def test_a_server_without_its_driver_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "langgraph.checkpoint.postgres.aio", None)
    with pytest.raises(SettingsError, match=r'pip install "detailscribe\[postgres\]"'):
        run(PROMPT, out=tmp_path / "run", settings={"run": {"checkpoints": "postgresql://localhost/runs"}}, **roles({}))
    assert not (tmp_path / "run").exists()


def test_everything_that_a_state_can_hold_comes_back_from_our_own_serializer():
    decision = Decision(image="00-00", rule="person", reason="enough", attempts=(Attempt(prompt=PROMPT),))
    kept = [Ruling(round=0, decisions=(decision,)), decision, record("00-00"), Attempt(keep_steps=(1, 2))]
    assert serializer().loads_typed(serializer().dumps_typed(kept)) == kept
