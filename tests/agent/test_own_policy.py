"""A user's own policy of a few lines: the README's example, by name, and one with a plan and settings."""

import linecache
import re
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from detailscribe.agent import aresume, arun, arun_batch
from detailscribe.agent.experiments.compare import compare
from detailscribe.agent.policies import BestOfN, PolicyError, policy_name, resolve_policy, stop
from detailscribe.state import Budget, Plan
from detailscribe.tools.errors import ModelError, SettingsError

from .fakes import PROMPT, FakeDiffusion, critique, roles
from .simulation import simulate

README = Path(__file__).parents[2] / "README.md"

WITH_SETTINGS = '''
from dataclasses import dataclass

from detailscribe.agent.policies import first_stop, refine, stop, success
from detailscribe.state import Plan


@dataclass(frozen=True)
class Knockout:
    """Refine the better half, round after round."""

    n: int = 8

    def plan(self, concepts):
        return Plan(images=self.n)

    def judge(self, population):
        ranked = sorted(population.pending(), key=lambda i: (i.round, population.rank(i)), reverse=True)
        half = sum(image.round == population.round for image in ranked) // 2
        return [
            first_stop([success], population, image)
            or (
                refine(population, image, "through", f"place {place}", operator="inject", start_step=4)
                if place < half
                else stop(image, "knocked_out", f"place {place} of {len(ranked)}")
            )
            for place, image in enumerate(ranked)
        ]
'''


METHODS = [("decomposer", "decompose"), ("diffusion", "draw"), ("critic", "critique")]


def always(fails):
    return lambda image: critique(image.id, fails)


@pytest.fixture
def my_policies(tmp_path, monkeypatch):
    """A user's module on the path: the README's example and a class."""
    [example] = re.findall(r"```python\n([^`]*def until_it_passes.*?)^run\(", README.read_text("utf-8"), re.S | re.M)
    (tmp_path / "my_policies.py").write_text(
        example.replace("from detailscribe.agent import run\n", "") + WITH_SETTINGS
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("my_policies")
def test_the_function_of_the_readme_works_by_its_path():
    policy = resolve_policy("my_policies:until_it_passes")
    assert len(simulate(policy, always("red"), Budget(rounds=3)).population.images) == 4
    assert simulate(policy, lambda i: critique(i.id, "" if i.round == 2 else "red")).stops[0].rule == "all_pass"


@pytest.mark.usefixtures("my_policies")
def test_a_class_of_a_few_lines_works_with_its_settings():
    run = simulate(resolve_policy("my_policies:Knockout", n=4), always("red"))
    assert [sum(i.round == r for i in run.population.images.values()) for r in range(3)] == [4, 2, 1]
    assert run.population.decisions["02-00"].rule == "knocked_out"


CODE_OF_A_POLICY = """
from dataclasses import dataclass
from detailscribe.agent.policies import refine, stop
from detailscribe.state import Plan


@dataclass(frozen=True)
class Once:
    n: int = 1

    def plan(self, concepts):
        return Plan(images=self.n)

    def judge(self, population):
        return [stop(image, "rule_of_it", helper()) for image in population.pending()]


def judge(population):
    return Once().judge(population)


def helper():
    return "enough"
"""


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """The policy of a module that holds this code, loaded anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(code, name):
        (tmp_path / "edited_policy.py").write_text(code)
        sys.modules.pop("edited_policy", None)
        linecache.clearcache()
        return resolve_policy(f"edited_policy:{name}")

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield load
    sys.modules.pop("edited_policy", None)


@pytest.mark.parametrize("name", ["Once", "judge"])
def test_an_edited_policy_is_another_one_wherever_in_its_module_it_was_edited(edited, name):
    names = [policy_name(edited(code, name)) for code in (CODE_OF_A_POLICY, CODE_OF_A_POLICY)]
    assert names[0] == names[1]
    assert policy_name(edited(CODE_OF_A_POLICY.replace('"enough"', '"too much"'), name)) != names[0]
    assert policy_name(BestOfN(n=2)) == repr(BestOfN(n=2))


async def test_a_batch_takes_no_rows_of_a_policy_that_was_edited_since(edited, tmp_path):
    async def batch(rule):
        policy = edited(CODE_OF_A_POLICY.replace("rule_of_it", rule), "Once")
        return await arun_batch([PROMPT], policy=policy, out=tmp_path / "batch", **roles({}))

    await batch("first")
    assert [row.stop for row in (await batch("first")).rows()] == ["first"]
    with pytest.raises(SettingsError, match=r"in code .*in code .*name another --out"):
        await batch("second")


async def test_a_comparison_begins_with_what_differs_the_code_of_an_edited_policy_too(edited, tmp_path):
    for name, rule, budget in (("a", "first", 4), ("b", "second", 5)):
        policy = edited(CODE_OF_A_POLICY.replace("rule_of_it", rule), "Once")
        await arun(PROMPT, out=tmp_path / name, policy=policy, budget={"images": budget}, **roles({}))
    differs, *_ = compare(tmp_path / "a", tmp_path / "b")
    found = {line[1]: line[2:] for line in differs.texts}
    assert sorted(found) == ["code of the policy", "run.budget.images"]
    assert len({*found["code of the policy"]}) == 2


async def test_a_run_whose_policy_was_mended_goes_on_with_it(edited, tmp_path):
    broken = CODE_OF_A_POLICY.replace("def helper():", "def helper():\n    1 / 0")
    with pytest.raises(PolicyError, match=r"Once.judge raised ZeroDivisionError: division by zero \(.*py:\d+\)"):
        await arun(PROMPT, policy=edited(broken, "Once"), out=tmp_path / "run", **roles({}))
    done = await aresume(tmp_path / "run", policy=edited(CODE_OF_A_POLICY, "Once"), **roles({}))
    assert done.stop == "rule_of_it"


def policy_of(plan=lambda concepts: Plan(images=1), judge=lambda population: []):
    return type("Mine", (), {"plan": staticmethod(plan), "judge": staticmethod(judge)})()


async def decided_later(population):
    return []


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (policy_of(judge=lambda population: None), r"Mine\.judge returned None, not the list of Decision"),
        (policy_of(judge=lambda population: stop(population.best(), "done", "x")), r"Mine\.judge .*list of Decision"),
        (policy_of(judge=lambda population: "stop"), r"Mine\.judge returned 'stop', not the list"),
        (policy_of(judge=lambda population: [{"image": "00-00"}]), r"Mine\.judge .*list of Decision alone"),
        (policy_of(judge=decided_later), r"Mine\.judge .*should be no async function"),
        (policy_of(judge=lambda population: [stop(population.best(), "Not A Rule", "x")]), r"Mine\.judge .*rule: "),
        (policy_of(plan=lambda concepts: None), r"Mine\.plan returned None, not the list of Attempt"),
        (policy_of(plan=lambda concepts: 3), r"Mine\.plan returned 3, not the list of Attempt"),
        (policy_of(plan=lambda concepts: ["a cat"]), r"Mine\.plan returned \['a cat'\], .*list of Attempt alone"),
        (policy_of(plan=lambda concepts: Plan(images=1, seeds=(-1,))), r"Mine\.plan"),
    ],
)
async def test_a_mistake_in_a_policy_names_its_class_and_method_and_what_was_expected(tmp_path, policy, complaint):
    with pytest.raises((PolicyError, SettingsError), match=complaint) as error:
        await arun(PROMPT, policy=policy, out=tmp_path / "run", **roles({}))
    assert "\n" not in str(error.value)


class Role:
    """Any role of the user's, with one method."""

    def __init__(self, method, answer):
        setattr(self, method, answer)


async def nothing(*given, **more):
    return None


async def not_awaited(*given, **more):
    return nothing()


async def half_a_checklist(image, concepts, store):
    return critique(image.id).model_copy(update={"verdicts": critique(image.id).verdicts[:2]})


async def of_another_image(attempt, store, **more):
    return await FakeDiffusion().draw(attempt.model_copy(update={"id": "07-07"}), store, **more)


@pytest.mark.parametrize(
    ("role", "method", "answer", "complaint"),
    [
        *((*role, nothing, "returned None, not the") for role in METHODS),
        *((*role, not_awaited, "an await is missing") for role in METHODS),
        *((*role, lambda *given, **more: None, "is no async function") for role in METHODS),
        ("critic", "critique", half_a_checklist, "answered the checks cat, umbrella; expected were cat, umbrella, red"),
        ("diffusion", "draw", of_another_image, "record of '07-07'"),
    ],
)
async def test_a_mistake_in_a_role_names_its_class_and_method(tmp_path, role, method, answer, complaint):
    with pytest.raises((ModelError, SettingsError), match=rf"Role\.{method}.*{complaint}"):
        await arun(PROMPT, policy=BestOfN(n=1), out=tmp_path / "run", **roles({}, **{role: Role(method, answer)}))


@pytest.mark.parametrize(
    ("choose", "complaint"),
    [
        (lambda: resolve_policy("seed_search", n=True), "SeedSearch: n should be a number, not true"),
        (lambda: Budget(images=True), "a bound should be a number, not true or false"),
    ],
)
def test_a_switch_is_no_number(choose, complaint):
    with pytest.raises((SettingsError, ValidationError), match=complaint):
        choose()
