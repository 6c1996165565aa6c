"""A user's own policy of a few lines: the README's example, by name, and one with a plan and settings."""

import re
from pathlib import Path

import pytest

from detailscribe.agent.policies import resolve_policy
from detailscribe.state import Budget

from .fakes import critique
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
