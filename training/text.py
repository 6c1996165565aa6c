"""The tokenizer of the embedded world: a stock fast tokenizer over the canonical words."""

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from detailscribe.tools.world.language import SPELLINGS, WORDS

MAX_TOKENS = 64
"""Longest prompt the text encoder reads; more is cut off."""
PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that first puts a text into canonical spelling (``language.canonical``)."""
    special = {"<pad>": PAD, "<unk>": UNKNOWN, "<begin>": BEGIN, "<end>": END}
    vocabulary = {**special, **{word: len(special) + i for i, word in enumerate(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            normalizers.Lowercase(),
            normalizers.Replace("&", " and "),
            *(normalizers.Replace(Regex(pattern), word) for pattern, word in SPELLINGS),
            normalizers.Replace(Regex(r"\."), " . "),
            normalizers.Replace(Regex(r"[^a-z0-9'. -]"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<begin> $A <end>", special_tokens=[("<begin>", BEGIN), ("<end>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<begin>",
        eos_token="<end>",
        model_max_length=MAX_TOKENS,
    )
