"""What was paid once is not paid again, also by another process."""

import json

import pytest

from detailscribe.state import Critique, spend_of
from detailscribe.tools.errors import ReplyError, SettingsError
from detailscribe.tools.language.question import Picture, Question

from .scripted import KEY, Colour, Said

QUESTION = Question("colour", "You see.", "Which colour is it?", (Picture(b"png", "images/a.png"),))
OTHERS = {
    "system": Question("colour", "You look.", "Which colour is it?", QUESTION.pictures),
    "text": Question("colour", "You see.", "What colour is it?", QUESTION.pictures),
    "picture": Question("colour", "You see.", "Which colour is it?", (Picture(b"other", "images/a.png"),)),
    "vote": Question("colour", "You see.", "Which colour is it?", QUESTION.pictures, vote=1),
}


async def test_an_answer_is_kept_and_costs_nothing_the_second_time(server, chat, tmp_path):
    first = await chat(cache=tmp_path, input_price=1).ask(QUESTION, Colour)
    second = await chat(cache=tmp_path, input_price=1).ask(QUESTION, Colour)
    assert len(server.requests) == 1
    assert second.value == first.value
    [again] = second.exchanges
    assert again.cached
    assert (again.prompt, again.reply) == (first.exchanges[0].prompt, first.exchanges[0].reply)
    assert spend_of(None, {}, {"a": Critique(image="a", verdicts=(), exchanges=(again,))}).tokens == 0
    assert (again.seconds, again.money) == (0, 0)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
async def test_another_question_has_another_answer(server, chat, tmp_path, other):
    model = chat(cache=tmp_path)
    await model.ask(QUESTION, Colour)
    assert not (await model.ask(other, Colour)).exchanges[0].cached


@pytest.mark.parametrize("other", [{"model": "n"}, {"temperature": 1}, {"body": {"seed": 1}}, {"picture_side": 512}])
async def test_another_model_has_another_answer(server, chat, tmp_path, other):
    await chat(cache=tmp_path).ask(QUESTION, Colour)
    assert not (await chat(cache=tmp_path, **other).ask(QUESTION, Colour)).exchanges[0].cached


async def test_where_a_picture_lies_does_not_matter(server, chat, tmp_path):
    await chat(cache=tmp_path).ask(QUESTION, Colour)
    moved = Question("colour", "You see.", "Which colour is it?", (Picture(b"png", "images/b.png"),))
    assert (await chat(cache=tmp_path).ask(moved, Colour)).exchanges[0].cached


async def test_what_cannot_be_used_is_not_kept(server, chat, tmp_path):
    server.says("red", "red")
    with pytest.raises(ReplyError):
        await chat(cache=tmp_path, attempts=2).ask(QUESTION, Colour)
    reply = await chat(cache=tmp_path).ask(QUESTION, Colour)
    assert not reply.exchanges[0].cached


async def test_an_answer_at_the_second_attempt_is_kept_for_the_question(server, chat, tmp_path):
    server.says("red")
    await chat(cache=tmp_path).ask(QUESTION, Colour)
    [again] = (await chat(cache=tmp_path).ask(QUESTION, Colour)).exchanges
    assert again.cached
    assert len(server.requests) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"reply": 3}', b'{"reply": "no colour"}'])
async def test_a_damaged_answer_is_asked_again_and_written_anew(server, chat, tmp_path, damage):
    await chat(cache=tmp_path).ask(QUESTION, Colour)
    [file] = tmp_path.rglob("*.json")
    file.write_bytes(damage)
    assert not (await chat(cache=tmp_path).ask(QUESTION, Colour)).exchanges[0].cached
    assert (await chat(cache=tmp_path).ask(QUESTION, Colour)).exchanges[0].cached


async def test_the_folder_holds_whole_files_without_the_key(server, chat, tmp_path):
    server.says(Said(f'{{"colour": "{KEY}"}}'))
    await chat(cache=tmp_path).ask(QUESTION, Colour)
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert json.loads(file.read_text()) == {
        "reply": '{"colour": "***"}',
        "picture_side": 1024,
        "probability": None,
    }
    assert KEY not in str(file)


def test_a_folder_that_cannot_be_is_told_at_once(chat, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cache of answers in .* cannot be written"):
        chat(cache=tmp_path / "file" / "cache")
