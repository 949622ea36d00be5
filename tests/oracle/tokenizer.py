"""The byte-level BPE of Qwen2 (same normaliser, pre-tokenizer and special tokens), small vocabulary."""

import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import trainers

import language

# as in Qwen2's tokenizer.json
PRE_TOKENIZER = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
                 r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 640

# Merges outside the synthetic language: common words, code, and multi-byte characters.
OTHER = """the of and to in is that it for was on are as with his they at be this from have or by
one had not but what all were when we there can an your which their said if do will each about how
up out them then she many some so these would other into has more her two like him see time could
no make than first been its who now people my made over did down only way find use may water long
little very after words called just where most know you're don't can't it's we'll I've he'd I'm
THE AND int void static return struct char const if (x == 0) { return -1; } for (i = 0; i < n; i++)
café naïve über schön garçon señor żółć Привет мир как дела 日本語 中文 你好 世界 한국어 สวัสดี
مرحبا שלום नमस्ते 😀😀 👍 🎉 — … “quoted” ‘single’ €100 ½ ... !!! ??? --- === //"""


def corpus():
    rng = random.Random(1)
    for _ in range(600):
        story = language.make_story(rng, 12, 8, 1)
        yield language.document(story, rng.sample(story.questions, 4))[0]
    for _ in range(30):
        yield OTHER
        yield "    indented\n\n\n\ttabbed  twice\r\n"


def build(vocab, merges):
    """A tokenizer from a vocabulary {token: id} that ends with SPECIAL, and merges [(left, right)]."""
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, byte_fallback=False))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRE_TOKENIZER), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return tok


def train(size=VOCABULARY):
    """Train on the corpus. Ids as in Qwen2: 256 bytes, merges in order, special tokens last."""
    tok = build({}, [])
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    vocab, merges = contents(tok)
    return build(vocab, merges)


def contents(tok):
    """({token: id}, [(left, right)]) with the special tokens at the end."""
    import json
    state = json.loads(tok.to_str())["model"]
    vocab = {t: i for t, i in state["vocab"].items() if t not in SPECIAL}
    words = sorted(vocab, key=vocab.get)
    vocab = {t: i for i, t in enumerate(words + SPECIAL)}
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    return vocab, merges
