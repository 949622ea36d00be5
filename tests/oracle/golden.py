"""Small random Qwen2 models and what transformers computes on them in float32:
python golden.py DATA [NAME...]

Writes DATA/golden/*.gguf with prompts, greedy ids and logits, and DATA/golden.csv that lists them,
all of them or those named.
The bundled model's rows come from bundled.py; both write through `record`.
"""

import csv
import math
import pathlib
import random
import sys

import torch
from gguf import GGMLQuantizationType as Type
from tokenizers import pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM

import gguf_file
import tokenizer

NEW = 16                # greedy ids per prompt
PROMPT = 201            # so that position 200 is one of the prompt's
# the vocabulary: 256 bytes, these and the special tokens, 288 in all
MERGES = """h e, Ġ t, i n, Ġt he, Ġ c, Ġ w, Ġ a, Ġ T, ĠT he, e r, h a, Ġ i, e s, a r, o n, Ġi s, l i, Ġc o,
e n, Ġ in, Ġ ha, o r, Ġ d, Ġ n, Ġ s, a s, . Ċ, A n, Ġ b"""

# name: weight type, heads, kv heads, head_dim, layers, ffn, vocabulary, tied, theta, eps, prompt
FIXTURES = {
    "f32-g1-d64-tied":    (Type.F32, 2, 2, 64, 2, 64, 288, True, 1e6, 1e-6, PROMPT),
    "f32-g5-d40-untied":  (Type.F32, 5, 1, 40, 1, 36, 288, False, 1e4, 1e-5, PROMPT),
    "f16-g4-d64-untied":  (Type.F16, 4, 1, 64, 1, 64, 320, False, 1e6, 1e-6, PROMPT),
    "bf16-g6-d64-untied": (Type.BF16, 6, 1, 64, 1, 32, 320, False, 1e6, 1e-5, PROMPT),
    "bf16-g1-d128-tied":  (Type.BF16, 2, 2, 128, 1, 64, 288, True, 1e4, 1e-6, PROMPT),
    "q8_0-g7-d64-tied":   (Type.Q8_0, 14, 2, 64, 1, 32, 288, True, 1e6, 1e-6, PROMPT),
    "q8_0-g4-d128-untied": (Type.Q8_0, 4, 1, 128, 1, 64, 288, False, 1e6, 1e-5, PROMPT),
    "q8_0-g2-d64-long":   (Type.Q8_0, 4, 2, 64, 2, 64, 288, True, 1e4, 1e-6, 300),
    "q4_0-g4-d64-untied": (Type.Q4_0, 4, 1, 64, 1, 96, 288, False, 1e6, 1e-6, PROMPT),
    "q4_1-g2-d64-tied":   (Type.Q4_1, 2, 1, 64, 2, 160, 288, True, 1e4, 1e-6, PROMPT),
    "q5_0-g7-d64-tied":   (Type.Q5_0, 7, 1, 64, 1, 96, 288, True, 1e6, 1e-6, PROMPT),
    "q5_1-g3-d32-untied": (Type.Q5_1, 3, 1, 32, 2, 160, 320, False, 1e6, 1e-5, PROMPT),
    "q4_k-g4-d64-tied":   (Type.Q4_K, 4, 1, 64, 1, 256, 288, True, 1e6, 1e-6, PROMPT),
    "q5_k-g2-d128-untied": (Type.Q5_K, 2, 1, 128, 1, 256, 320, False, 1e6, 1e-6, PROMPT),
    "q6_k-g4-d64-untied": (Type.Q6_K, 4, 1, 64, 1, 256, 288, False, 1e4, 1e-6, PROMPT),
    "q4_k_m-g2-d64-tied": ("q4_k_m", 4, 2, 64, 4, 256, 288, True, 1e6, 1e-6, PROMPT),
    "q4_k_m-g1-d64-long": ("q4_k_m", 4, 4, 64, 2, 256, 288, False, 1e6, 1e-6, 230),
    "q4_k_m-g3-d64-odd":  ("q4_k_m", 3, 1, 64, 3, 256, 288, True, 1e6, 1e-6, PROMPT),
    "q5_k_m-g4-d64-untied": ("q5_k_m", 4, 1, 64, 2, 256, 288, False, 1e6, 1e-6, PROMPT),
}

# Fixtures that are recorded once more without their biases, as --no-bias leaves them out.
NO_BIAS = ["f32-g1-d64-tied", "bf16-g6-d64-untied", "q8_0-g4-d128-untied", "q4_k-g4-d64-tied"]

COLUMNS = ["name", "model", "weight_type", "layers", "hidden", "heads", "kv_heads", "group",
           "head_dim", "ffn", "vocab", "tied", "bias", "theta", "eps", "prompt_tokens", "new_tokens",
           "min_margin", "prompt_file", "ids_file", "margins_file", "logits_file"]


def small_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(m.split()) for m in MERGES.replace("\n", " ").split(", ")]
    tokens = alphabet + [a + b for a, b in merges] + tokenizer.SPECIAL
    return tokenizer.build({t: i for i, t in enumerate(tokens)}, merges)


def random_model(shape, seed):
    """Weights that keep every stage at unit scale, so logits spread and attention is not one-hot; query
    and key biases hold one outlier each, -14 and -34, on rotary pairs slow enough not to saturate."""
    _, heads, kv_heads, dim, layers, ffn, vocab, tied, theta, eps, _ = shape
    hidden = heads * dim
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=512,
        rms_norm_eps=eps, rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=tied, use_sliding_window=False))
    g = torch.Generator().manual_seed(seed)
    gain = {"q_proj": 1.5, "down_proj": 1.5, "embed_tokens": 3.0, "lm_head": 3.0}
    with torch.no_grad():
        for name, p in model.named_parameters():
            part = name.split(".")[-2]
            noise = torch.randn(p.shape, generator=g)
            if p.dim() == 2:
                p.copy_(noise * gain.get(part, 1.0) / math.sqrt(p.shape[1]))
            elif name.endswith("bias"):
                p.copy_(noise * 0.5)
            else:
                p.copy_(1 + 0.2 * noise)
        # random signs, or a tied head would prefer the token it has just read
        model.model.norm.weight *= torch.randn(hidden, generator=g).sign()
        pair = lambda angle: round(math.log(1 / angle) / math.log(theta) * dim / 2)
        for i, layer in enumerate(model.model.layers):
            a = layer.self_attn
            a.q_proj.bias[(i % heads) * dim + pair(0.10)] = -14
            a.k_proj.bias[(i % kv_heads) * dim + dim // 2 + pair(0.02)] = -34
    return model


@torch.no_grad()
def greedy(model, prompt, new, end=None):
    """(ids, logits of every position that was fed, margins). Stops after the id `end`. The cache is
    transformers' own; the result is checked against one forward over the whole sequence."""
    ids, rows, cache, feed = [], [], None, list(prompt)
    while True:
        out = model(torch.tensor([feed]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0])
        feed = [int(rows[-1][-1].argmax())]
        ids += feed
        if len(ids) == new or ids[-1] == end:
            break
    logits = torch.cat(rows)
    whole = model(torch.tensor([list(prompt) + ids[:-1]])).logits[0]
    assert (whole - logits).abs().max() < 2e-3, (whole - logits).abs().max()
    top = whole[len(prompt) - 1:].topk(2)
    return ids, whole, (top.values[:, 0] - top.values[:, 1]).tolist(), top.indices[:, 1].tolist()


def has_bias(model):
    return any(p.any() for n, p in model.named_parameters() if n.endswith("bias"))


@torch.no_grad()
def drop_bias(model):
    for n, p in model.named_parameters():
        if n.endswith("bias"):
            p.zero_()


def record(data, name, model_file, weight_type, model, prompt, new=NEW, end=None, positions=None):
    """Write the golden files of one prompt and return its row of golden.csv."""
    ids, logits, margins, seconds = greedy(model, prompt, new, end)
    folder = data / "golden"
    folder.mkdir(parents=True, exist_ok=True)
    n = len(prompt)
    positions = positions or [0, 1, 24, n // 2, 200, n - 1, n, n + 7, n + len(ids) - 2]
    (folder / f"{name}.prompt.txt").write_text(" ".join(map(str, prompt)) + "\n")
    (folder / f"{name}.ids.txt").write_text(" ".join(map(str, ids)) + "\n")
    with open(folder / f"{name}.margins.csv", "w") as f:
        f.write("step,token,runner_up,margin\n")
        for step, row in enumerate(zip(ids, seconds, margins)):
            f.write("%d,%d,%d,%.9g\n" % (step, *row))
    with open(folder / f"{name}.logits.csv", "w") as f:
        f.write("position,token,logit\n")
        for p in sorted({p for p in positions if 0 <= p < len(logits)}):
            for token, value in enumerate(logits[p].tolist()):
                f.write("%d,%d,%.9g\n" % (p, token, value))
    c = model.config
    return dict(name=name, model=model_file, weight_type=getattr(weight_type, "name", weight_type).lower(),
                layers=c.num_hidden_layers, hidden=c.hidden_size, heads=c.num_attention_heads,
                kv_heads=c.num_key_value_heads, group=c.num_attention_heads // c.num_key_value_heads,
                head_dim=c.hidden_size // c.num_attention_heads, ffn=c.intermediate_size,
                vocab=c.vocab_size, tied=int(c.tie_word_embeddings), bias=int(has_bias(model)),
                theta="%g" % c.rope_parameters["rope_theta"], eps="%g" % c.rms_norm_eps,
                prompt_tokens=n, new_tokens=len(ids), min_margin="%.4g" % min(margins),
                prompt_file=f"golden/{name}.prompt.txt", ids_file=f"golden/{name}.ids.txt",
                margins_file=f"golden/{name}.margins.csv", logits_file=f"golden/{name}.logits.csv")


def find_prompt(model, length, seed, usable):
    """Ids whose greedy continuation is clear at every step, varied, and free of special tokens."""
    rng = random.Random(seed)
    best = None
    for _ in range(60):
        prompt = [rng.randrange(usable) for _ in range(length)]
        ids, _, margins, _ = greedy(model, prompt, NEW)
        if max(ids) < usable and len(set(ids)) >= 8:
            if best is None or min(margins) > best[0]:
                best = (min(margins), prompt)
            if min(margins) > 0.1:
                break
    assert best and best[0] > 0.03, best
    return best[1]


@torch.no_grad()
def examine(model, prompt):
    """How much the parts that a broken runner gets wrong matter: spread of the logits, mean entropy of
    the attention, largest change of a logit without biases and with all positions 0."""
    ids = torch.tensor([prompt])
    out = model(ids, output_attentions=True)
    late = torch.stack([a[0, :, len(prompt) // 2:] for a in out.attentions])
    entropy = -(late * late.clamp_min(1e-30).log()).sum(-1)
    stuck = model(ids, position_ids=torch.zeros_like(ids)).logits
    saved = {n: p.clone() for n, p in model.named_parameters() if n.endswith("bias")}
    for n, p in model.named_parameters():
        if n in saved:
            p.zero_()
    bare = model(ids).logits
    for n, p in model.named_parameters():
        if n in saved:
            p.copy_(saved[n])
    change = lambda x: (x - out.logits)[0, -1].abs().max().item()
    return (f"std {out.logits.std():.2f} entropy {entropy.mean():.2f} (least mean of a head "
            f"{entropy.mean(-1).min():.2f}) no bias {change(bare):.2f} stuck {change(stuck):.2f}")


def write_manifest(data, rows):
    """Replace the rows of the same names in DATA/golden.csv, keep the others."""
    path = data / "golden.csv"
    old = [{"bias": 1} | r for r in csv.DictReader(open(path))] if path.exists() else []
    new = {r["name"]: r for r in old} | {r["name"]: r for r in rows}
    with open(path, "w", newline="") as f:
        out = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        out.writeheader()
        out.writerows(new.values())


def main():
    data = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    tok = small_tokenizer()
    usable = tok.get_vocab_size() - len(tokenizer.SPECIAL)
    (data / "golden").mkdir(parents=True, exist_ok=True)
    rows = []
    for seed, (name, shape) in enumerate(FIXTURES.items()):
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        path = data / "golden" / f"{name}.gguf"
        gguf_file.write(path, random_model(shape, seed), tok, shape[0], f"golden {name}")
        model = gguf_file.load(path)
        prompt = find_prompt(model, shape[-1], seed, usable)
        row = record(data, name, f"golden/{name}.gguf", shape[0], model, prompt)
        print(name, path.stat().st_size, "bytes, margin", row["min_margin"], examine(model, prompt),
              flush=True)
        rows.append(row)
        if name in NO_BIAS:
            drop_bias(model)
            rows.append(record(data, f"{name}-no-bias", row["model"], shape[0], model,
                               find_prompt(model, shape[-1], seed, usable)))
    write_manifest(data, rows)


if __name__ == "__main__":
    main()
