"""The page on chat servers says what settings take."""

import tomllib
from pathlib import Path

import pytest

from detailscribe.agent.settings.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "servers.md").read_text(encoding="utf-8")
EXAMPLES = [block.partition("```")[0] for block in PAGE.split("```toml\n")[1:]]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_setting(example):
    chat = Settings.model_validate(tomllib.loads(example)).chat_settings()
    assert chat.headers or chat.is_local
    assert "..." not in chat.model_dump_json()
