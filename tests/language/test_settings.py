"""Settings say how a model is reached and what it costs, and never show a key."""

import pytest
from pydantic import SecretStr, ValidationError

from detailscribe.tools.language.settings import ChatSettings, cost_of

from .scripted import KEY


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (None, "api.openai.com"),
        ("https://api.openai.com/v1", "api.openai.com"),
        ("http://localhost:8000/v1", "localhost:8000"),
        ("https://example.org/a/b/v1/", "example.org"),
    ],
)
def test_a_model_is_named_with_its_host(url, host):
    assert ChatSettings(model="m", base_url=url).name == f"m@{host}"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "http://a:99999/v1",
        "ftp://a/v1",
        "http:///v1",
        f"http://me:{KEY}@a/v1",
        f"http://a/v1?key={KEY}",
        "",
        "x",
    ],
)
def test_an_url_that_is_none_or_that_holds_a_key_is_refused_without_showing_it(url):
    with pytest.raises(ValidationError, match="URL") as error:
        ChatSettings(model="m", base_url=url)
    assert KEY not in str(error.value)


def test_settings_never_show_their_key():
    settings = ChatSettings(model="m", api_key=SecretStr(KEY))
    assert KEY not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_what_a_server_echoes_is_cleaned():
    settings = ChatSettings(model="m", api_key=SecretStr(KEY))
    assert settings.clean(f"your key {KEY} is bad \ud83d") == "your key *** is bad ?"
    assert ChatSettings(model="m", api_key=SecretStr("")).clean("abc") == "abc"


def test_a_stand_in_for_a_key_is_not_cut_out_of_words():
    assert ChatSettings(model="m", api_key=SecretStr("x")).clean("a fox") == "a fox"


@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ({"model": "gpt-4o"}, 2.5 + 1),
        ({"model": "gpt-4o-2024-08-06"}, 2.5 + 1),
        ({"model": "gpt-4o", "input_price": 1}, 1 + 1),
        ({"model": "gpt-4o", "output_price": 0}, 2.5),
        ({"model": "gpt-4o", "base_url": "http://localhost/v1"}, 0),
        ({"model": "unheard-of"}, 0),
        ({"model": "unheard-of", "output_price": 3}, 0.3),
        ({"model": "openai/gpt-4o", "base_url": "https://openrouter.ai/api/v1"}, 2.5 + 1),
    ],
)
def test_a_call_costs_the_configured_price_or_else_the_listed_one(settings, cost, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("prices are read offline"))
    assert cost_of(ChatSettings(**settings), 1_000_000, 100_000) == pytest.approx(cost)
