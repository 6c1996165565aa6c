"""A user's own policy of a few lines: the README's example, by name, and one with a plan and settings."""

import linecache
import re
import sys
from pathlib import Path

import pytest

from detailscribe.agent import aresume, arun, arun_batch
from detailscribe.agent.policies import BestOfN, policy_name, resolve_policy
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

from .fakes import PROMPT, critique, roles
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


async def test_a_run_whose_policy_was_mended_goes_on_with_it(edited, tmp_path):
    broken = CODE_OF_A_POLICY.replace("def helper():", "def helper():\n    1 / 0")
    with pytest.raises(ZeroDivisionError):
        await arun(PROMPT, policy=edited(broken, "Once"), out=tmp_path / "run", **roles({}))
    done = await aresume(tmp_path / "run", policy=edited(CODE_OF_A_POLICY, "Once"), **roles({}))
    assert done.stop == "rule_of_it"
