"""What each span says, under the names of OpenInference where it has one and under ``detailscribe.`` where not.

Images are references into the run folder: no attribute ever holds a pixel. The names are those of
https://github.com/Arize-ai/openinference, spec/semantic_conventions.md.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...state import Change, Comparison, Critique, Decision, Exchange, ImageRecord
from ..traces.events import NodeStarted, RunFinished, RunStarted

Kind = Literal["AGENT", "CHAIN", "TOOL", "EVALUATOR", "LLM"]
"""AGENT: the run; CHAIN: a node, a decision; TOOL: the diffusion model; EVALUATOR: a look at images; LLM: one call."""

Value = str | bool | int | float | Sequence[str]
Attributes = dict[str, Value]

KIND, SESSION = "openinference.span.kind", "session.id"
INPUT, OUTPUT = "input.value", "output.value"
CONTENT = "message.contents.0.message_content"


def of_run(event: RunStarted) -> Attributes:
    """The run as it begins."""
    return _told(
        "AGENT",
        {
            INPUT: event.prompt,
            "detailscribe.seed": event.seed,
            "detailscribe.policy": event.policy,
            "detailscribe.budget": event.budget.model_dump_json(exclude_none=True),
        },
    )


def of_end(event: RunFinished, best: str | None) -> Attributes:
    """What the run came to; ``best`` is the reference of the best image."""
    spend = {f"detailscribe.spend.{name}": value for name, value in event.spend.model_dump().items()}
    found = {OUTPUT: best, "detailscribe.best": event.image, "detailscribe.stop": event.stop}
    return _given(found | spend | {"llm.cost.total": event.spend.money})


def of_node(event: NodeStarted) -> Attributes:
    """A node as it begins."""
    return _told("CHAIN", {"detailscribe.round": event.round, "detailscribe.image": event.image})


def of_image(image: ImageRecord, url: str) -> Attributes:
    """How an image was made; ``url`` is its reference."""
    parameters = {
        "origin": image.origin,
        "parent": image.parent,
        "seed": image.seed,
        "steps": image.steps,
        "start_step": image.start_step,
        "stop_step": image.stop_step,
        "operator": image.operator,
        "guidance": image.guidance,
    }
    said = {
        INPUT: image.prompt,
        OUTPUT: url,
        "tool.name": image.model,
        "tool.parameters": _json(_given(parameters)),
        f"llm.output_messages.0.{CONTENT}.type": "image",
        f"llm.output_messages.0.{CONTENT}.image.image.url": url,
        "detailscribe.image": image.id,
        "detailscribe.evaluations": image.evaluations,
        "detailscribe.seconds": image.seconds,
        "detailscribe.waited": image.waited,
        "llm.cost.total": image.money,
    }
    return _told("TOOL", said)


def of_critique(critique: Critique, change: Change | None, url: str | None) -> Attributes:
    """What the critic found on an image, and what became of its checks against the parent."""
    verdicts = {
        v.check: _given({"answer": v.answer, "probability": v.probability, "reason": v.reason, "evidence": v.evidence})
        for v in critique.verdicts
    }
    said = {
        INPUT: url,
        f"llm.input_messages.0.{CONTENT}.type": url and "image",
        f"llm.input_messages.0.{CONTENT}.image.image.url": url,
        OUTPUT: _json(verdicts),
        "output.mime_type": "application/json",
        "detailscribe.image": critique.image,
        "detailscribe.passed": critique.passed,
        "detailscribe.checks": len(critique.verdicts),
        "detailscribe.score": critique.score,
        "detailscribe.refined_prompt": critique.refined_prompt,
        "detailscribe.fixed": change and change.fixed,
        "detailscribe.broken": change and change.broken,
    }
    return _told("EVALUATOR", said)


def of_comparison(pair: Comparison) -> Attributes:
    """Which of two images is better."""
    return _told("EVALUATOR", {INPUT: f"{pair.first} or {pair.second}", OUTPUT: pair.better or "equal"}) | {
        "detailscribe.reason": pair.reason
    }


def of_decision(decision: Decision) -> Attributes:
    """What the policy decided about an image, and why."""
    parameters = decision.model_dump(mode="json", exclude={"image", "action", "rule", "reason"}, exclude_defaults=True)
    said = {
        INPUT: decision.image,
        OUTPUT: f"{decision.action}: {decision.reason}",
        "detailscribe.image": decision.image,
        "detailscribe.action": decision.action,
        "detailscribe.rule": decision.rule,
        "detailscribe.parameters": _json(parameters) if parameters else None,
    }
    return _told("CHAIN", said)


def of_exchange(exchange: Exchange) -> Attributes:
    """One call of a model: the words both ways, images by reference."""
    said = {
        "llm.model_name": exchange.model,
        INPUT: exchange.prompt,
        OUTPUT: exchange.reply,
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": exchange.prompt,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": exchange.reply,
        "llm.token_count.prompt": exchange.prompt_tokens,
        "llm.token_count.completion": exchange.reply_tokens,
        "llm.token_count.total": exchange.prompt_tokens + exchange.reply_tokens,
        "llm.cost.total": exchange.money,
        "detailscribe.cached": exchange.cached,
    }
    return _told("LLM", said)


def _told(kind: Kind, said: Mapping[str, Any]) -> Attributes:
    return {KIND: kind} | _given(said)


def _given(said: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known, which OpenTelemetry refuses."""
    return {name: value for name, value in said.items() if value is not None}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
