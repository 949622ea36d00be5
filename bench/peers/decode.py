"""Whole-model decode of one sequence with random weights: a plain torch model under torch.compile, whose every step is one
graph over exactly the valid context, and transformers with a static cache where that is installed."""

import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from form import MODELS, cache_bytes, interval, sizes
from kernels import TORCH, reason_of

CONTEXTS = [1024, 32768]
STEPS, WARMUP, MIN_ROUNDS, MAX_ROUNDS, HALF_WIDTH, LIMIT_S = 64, 8, 5, 25, 0.005, 5.0


def token_bytes(c, context):
    """Of all weights that a token reads, bf16, and of its cache."""
    d = c["hidden"] // c["heads"]
    qkv = (c["heads"] + 2 * c["kv_heads"]) * d
    layer = qkv * c["hidden"] + c["hidden"] ** 2 + 3 * c["ffn"] * c["hidden"]
    return 2 * (c["layers"] * layer + c["vocab"] * c["hidden"]) + cache_bytes(c, context)


def norm(x, w):
    f = x.float()
    return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * w


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return (x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin).to(x.dtype)


class Layer(nn.Module):
    def __init__(self, c, capacity):
        super().__init__()
        h, self.heads, self.kv_heads = c["hidden"], c["heads"], c["kv_heads"]
        self.d = h // self.heads
        self.qkv = nn.Linear(h, (self.heads + 2 * self.kv_heads) * self.d)
        self.o = nn.Linear(h, h, bias=False)
        self.gate_up = nn.Linear(h, 2 * c["ffn"], bias=False)
        self.down = nn.Linear(c["ffn"], h, bias=False)
        self.norm1, self.norm2 = nn.Parameter(torch.ones(h)), nn.Parameter(torch.ones(h))
        for name in ("k", "v"):
            self.register_buffer(name, torch.randn(1, self.kv_heads, capacity, self.d))

    def forward(self, x, position, cos, sin, context: int):
        widths = [self.heads * self.d, self.kv_heads * self.d, self.kv_heads * self.d]
        q, k, v = self.qkv(norm(x, self.norm1)).split(widths, -1)
        q = q.view(1, 1, self.heads, self.d).transpose(1, 2)
        k = k.view(1, 1, self.kv_heads, self.d).transpose(1, 2)
        v = v.view(1, 1, self.kv_heads, self.d).transpose(1, 2)
        self.k[:, :, position] = rotate(k, cos, sin)
        self.v[:, :, position] = v
        out = F.scaled_dot_product_attention(rotate(q, cos, sin), self.k[:, :, :context], self.v[:, :, :context],
                                             enable_gqa=True)
        x = x + self.o(out.reshape(1, 1, -1))
        gate, up = self.gate_up(norm(x, self.norm2)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, c, capacity):
        super().__init__()
        self.embed = nn.Embedding(c["vocab"], c["hidden"])
        self.layers = nn.ModuleList(Layer(c, capacity) for _ in range(c["layers"]))
        self.norm = nn.Parameter(torch.ones(c["hidden"]))
        self.head = nn.Linear(c["hidden"], c["vocab"], bias=False)
        if c["tied"]:
            self.head.weight = self.embed.weight
        d = c["hidden"] // c["heads"]
        self.register_buffer("frequency", 1.0 / (1e6 ** (torch.arange(0, d, 2).float() / d)), persistent=False)

    def forward(self, token, position, context: int):
        x = self.embed(token)
        angle = position.float() * self.frequency.float()
        angle = torch.cat((angle, angle), -1)
        for layer in self.layers:
            x = layer(x, position, angle.cos().to(x.dtype), angle.sin().to(x.dtype), context)
        return self.head(norm(x, self.norm)).argmax(-1)


def randomise(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                p.normal_(0, 0.02)
            elif name.endswith("bias"):
                p.normal_(0, 0.5)


def build(make):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = make()
    finally:
        torch.set_default_dtype(torch.float32)
    randomise(model)
    return model.eval()


def time_steps(step, reset):
    """Seconds per token of rounds of STEPS consecutive tokens, each the argmax before."""
    for _ in range(WARMUP):  # compiles, then captures
        step()
    torch.cuda.synchronize()
    rounds, start = [], time.monotonic()
    while len(rounds) < MAX_ROUNDS:
        reset()
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - begin) / STEPS)
        middle, lo, hi = interval(rounds)
        if len(rounds) >= MIN_ROUNDS and ((hi - lo) / (2 * middle) < HALF_WIDTH or time.monotonic() - start > LIMIT_S):
            break
    return interval(rounds)


def plain(c, context):
    model = build(lambda: Model(c, context + STEPS))
    import torch._inductor.config as inductor

    inductor.coordinate_descent_tuning = True
    compiled = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    first, position = torch.tensor([[7]], device="cuda"), torch.tensor([context - 1], device="cuda")
    state = {"token": first}

    def step():
        torch.compiler.cudagraph_mark_step_begin()
        state["token"] = compiled(state["token"], position, context).clone()

    def reset():
        state["token"] = first

    return time_steps(step, reset)


def static_cache(c, context):
    from transformers import Qwen2Config, Qwen2ForCausalLM, StaticCache

    config = Qwen2Config(vocab_size=c["vocab"], hidden_size=c["hidden"], intermediate_size=c["ffn"],
                         num_hidden_layers=c["layers"], num_attention_heads=c["heads"],
                         num_key_value_heads=c["kv_heads"], max_position_embeddings=131072, tie_word_embeddings=c["tied"],
                         rms_norm_eps=1e-6, attn_implementation="sdpa", use_sliding_window=False)
    model = build(lambda: Qwen2ForCausalLM(config))
    cache = StaticCache(config=config, max_cache_len=context + STEPS + 8)
    cache.early_initialization(1, c["kv_heads"], c["hidden"] // c["heads"], torch.bfloat16, torch.device("cuda"))
    for layer in cache.layers:
        layer.keys.normal_()
        layer.values.normal_()
    lengths = [layer.cumulative_length for layer in cache.layers]

    def forward(token, position):
        out = model(input_ids=token, position_ids=position, past_key_values=cache, use_cache=True)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    compiled = torch.compile(forward, mode="reduce-overhead")
    first, position = torch.tensor([[7]], device="cuda"), torch.tensor([[context]], device="cuda")
    state = {"token": first}

    def reset():
        for length in lengths:
            length.fill_(context)
        state["token"] = first
        position.fill_(context)

    def step():
        torch.compiler.cudagraph_mark_step_begin()
        state["token"] = compiled(state["token"], position).clone()
        position.add_(1)

    reset()
    return time_steps(step, reset)


def transformers_version():
    import transformers

    return f"transformers {transformers.__version__}, {TORCH}"


PEERS = [("torch-compile", lambda: TORCH, plain), ("transformers-static", transformers_version, static_cache)]


def decode():
    """Yields (model, dtype, kv, context, bytes, peer, version, (seconds, lo, hi) or reason)."""
    for name, version_of, run in PEERS:
        try:
            version = version_of()
        except ImportError as error:
            yield "", "", "", 0, 0, name, "", f"absent: {reason_of(error)}"
            continue
        for context in CONTEXTS if run is plain else CONTEXTS[:1]:
            for model in MODELS:
                c = sizes()[model]
                try:
                    with torch.no_grad():
                        got = run(c, context)
                except Exception as error:
                    got = reason_of(error)
                yield model, "bf16", "bf16", context, token_bytes(c, context), name, version, got
                torch._dynamo.reset()
                torch.cuda.empty_cache()
