"""Train the bundled model and write it to a folder: python train.py OUT

A Qwen2 of 1.6 M parameters learns the language of language.py. Prints the share of held-out long-range
questions that it answers right by greedy decoding.
"""

import argparse
import bisect
import collections
import json
import math
import multiprocessing
import os
import pathlib
import random
import time

import torch
from tokenizers import Tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

import language
import tokenizer

CONFIG = dict(hidden_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
              intermediate_size=384, rms_norm_eps=1e-6, max_position_embeddings=1024,
              rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True,
              use_sliding_window=False, attention_dropout=0.0)
END = tokenizer.SPECIAL[0]
SEED = 20250101

# share of the steps, kinds of facts, facts, distractors, moves, questions (0: one or a few, as in use).
# Few kinds first: then the key of a question matters, not just its kind.
STAGES = [(0.25, 2, (4, 8), (0, 2), (0, 0), 8),
          (0.20, 5, (6, 12), (0, 6), (0, 1), 12),
          (0.25, 5, (8, 18), (2, 12), (0, 2), 16),
          (0.30, 5, (8, 18), (4, 12), (0, 1), 0)]
DOCUMENTS = 16          # in a batch
OTHER_WEIGHT = 0.1      # loss weight of a token outside answers and their end


def stage_of(progress):
    for stage in STAGES:
        progress -= stage[0]
        if progress < 0:
            return stage
    return STAGES[-1]


def batch(tok, step, stage):
    """Lists (ids, weights) of the documents of one step."""
    rng = random.Random(f"{SEED} {step} {stage}")
    _, kinds, facts, distractors, moves, count = stage
    rows = []
    for _ in range(DOCUMENTS):
        story = language.make_story(rng, rng.randint(*facts), rng.randint(*distractors),
                                    rng.randint(*moves), kinds)
        n = count
        if n == 0:
            n = 1
            while rng.random() < 0.2:
                n += 1
        n = min(n, len(story.questions))
        text, spans = language.document(story, rng.sample(story.questions, n))
        e = tok.encode(text + END)
        weights = [OTHER_WEIGHT] * len(e.ids)
        starts = [a for a, _ in e.offsets]
        for a, b in spans:
            for i in range(bisect.bisect_left(starts, a), bisect.bisect_left(starts, b)):
                weights[i] = 1.0
        weights[-1] = 1.0
        rows.append((e.ids, weights))
    return rows


def padded(rows, end, device):
    """(ids, weights) of shape (documents, longest), padded with the end marker at weight 0."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [end] * (longest - len(ids)) for ids, _ in rows])
    weights = torch.tensor([w + [0.0] * (longest - len(w)) for _, w in rows])
    return ids.to(device), weights.to(device)


def open_worker(state):
    global worker_tokenizer
    worker_tokenizer = Tokenizer.from_str(state)


def worker_batch(step, stage):
    return batch(worker_tokenizer, step, stage)


def batches(pool, steps, progress, ahead=32):
    """The rows of every step in order, made by worker processes."""
    queue = collections.deque()
    for step in range(steps):
        queue.append(pool.apply_async(worker_batch, (step, stage_of(progress(step)))))
        if len(queue) > ahead:
            yield queue.popleft().get()
    while queue:
        yield queue.popleft().get()


def look_back(model, pairs=10, amplitude=6.5):
    """Start head h of the first layer as one that attends h + 1 tokens back, by its biases alone.

    Under RoPE a query bias and a key bias give the score sum_i |q_i||k_i| cos(theta_i (m - n) + phi_i),
    which peaks at m - n = d for phi_i = -theta_i d; the fast pairs make the peak sharp. Each head copies
    what it sees into a subspace of its own."""
    c = model.config
    dim = c.hidden_size // c.num_attention_heads
    theta = c.rope_parameters["rope_theta"] ** (-torch.arange(pairs) * 2.0 / dim)
    attention = model.model.layers[0].self_attn
    space = torch.linalg.qr(torch.randn(c.hidden_size, c.hidden_size))[0]
    seen = torch.linalg.qr(torch.randn(c.hidden_size, dim))[0].T
    for h in range(c.num_key_value_heads):
        rows = slice(h * dim, (h + 1) * dim)
        attention.k_proj.bias[rows][:pairs] = amplitude
        attention.v_proj.weight[rows] = 0.12 * seen
    for h in range(c.num_attention_heads):
        bias = attention.q_proj.bias[h * dim:(h + 1) * dim]
        bias[:pairs] = amplitude * torch.cos(theta * (h + 1))
        bias[dim // 2:][:pairs] = -amplitude * torch.sin(theta * (h + 1))
    attention.o_proj.weight.copy_(space)
    return [space[:, h * dim:(h + 1) * dim] for h in range(c.num_attention_heads)]


def match(layer, kv_head, query_space, key_space, dim, fast=12, gain=1.3):
    """Start a key/value head and its query heads as ones that attend where `key_space` holds what
    `query_space` holds here, on the slow rotary pairs, so from any distance."""
    slow = torch.zeros(dim)
    slow[fast:dim // 2] = slow[dim // 2 + fast:] = gain
    mix = slow[:, None] * torch.linalg.qr(torch.randn(dim, dim))[0]
    a = layer.self_attn
    group = a.q_proj.weight.shape[0] // a.k_proj.weight.shape[0]
    a.k_proj.weight[kv_head * dim:(kv_head + 1) * dim] = mix @ key_space.T
    for h in range(kv_head * group, (kv_head + 1) * group):
        a.q_proj.weight[h * dim:(h + 1) * dim] = mix @ query_space.T


def held_out(rng, tok, count):
    """Prompts with one question each about a fact stated 50 to 200 tokens before, and the answers."""
    cases = []
    while len(cases) < count:
        story = language.make_story(rng, rng.randint(8, 18), rng.randint(4, 12), rng.randint(0, 1))
        q = rng.choice(story.questions)
        prompt = language.document(story, [])[0][:-1] + q.text
        since = " ".join(story.sentences[q.sentence:]) + q.text
        if 50 <= len(tok.encode(since).ids) <= 200:
            cases.append((prompt, q.answer, q.kind))
    return cases


@torch.no_grad()
def accuracy(model, tok, cases):
    """Share of the cases whose greedy continuation is exactly the answer and then the end."""
    right, by_kind = 0, {}
    for prompt, answer, kind in cases:
        ids = tok.encode(prompt).ids
        want = tok.encode(prompt + answer + "\n" + END).ids[len(ids):]
        logits = model(torch.tensor([ids + want], device=model.device)).logits[0, len(ids) - 1:-1]
        # greedy decoding yields `want` exactly if each of its tokens is the argmax after the others
        ok = logits.argmax(-1).tolist() == want
        right += ok
        n, r = by_kind.get(kind, (0, 0))
        by_kind[kind] = (n + 1, r + ok)
    return right / len(cases), by_kind


@torch.no_grad()
def new_model(tok):
    """Random but for the start of retrieval: heads that see the last four tokens, then heads that find
    where the same token stood one further back, which is the place of what followed."""
    torch.manual_seed(SEED)
    end = tok.token_to_id(END)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=tok.get_vocab_size(), bos_token_id=end,
                                         eos_token_id=end, **CONFIG))
    for p in model.parameters():
        if p.dim() == 2:
            p.normal_(0, 0.5 / math.sqrt(p.shape[1]))
    back = look_back(model)
    dim = back[0].shape[1]
    layers = model.model.layers
    match(layers[1], 0, back[0], back[1], dim)
    match(layers[1], 1, back[1], back[2], dim)
    match(layers[2], 0, back[2], back[3], dim)
    return model


def train(model, tok, pool, args):
    device = args.device
    hidden = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    other = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "embed" not in n)]
    optimizers = [torch.optim.Muon(hidden, lr=2e-3, weight_decay=0.01,
                                   adjust_lr_fn="match_rms_adamw"),
                  torch.optim.AdamW(other, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)]
    peak = [g["lr"] for o in optimizers for g in o.param_groups]
    end = tok.token_to_id(END)
    began, tokens = time.time(), 0
    first = STAGES[0][0] + STAGES[1][0] if args.start else 0.0
    progress = lambda step: max(step / args.steps, (time.time() - began) / args.seconds)
    course = lambda step: first + (1 - first) * progress(step)
    for step, rows in enumerate(batches(pool, args.steps, course)):
        done = progress(step)
        if done >= 1:
            break
        scale = min(1.0, (step + 1) / 50) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done)))
        for g, lr in zip((g for o in optimizers for g in o.param_groups), peak):
            g["lr"] = lr * scale
        ids, weights = padded(rows, end, device)
        states = model.model(ids[:, :-1]).last_hidden_state
        keep = weights[:, 1:] > 0
        logits, targets, w = model.lm_head(states[keep]), ids[:, 1:][keep], weights[:, 1:][keep]
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        ((losses * w).sum() / w.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        tokens += ids.numel()
        if step % 20 == 0:
            right = (logits.argmax(-1) == targets)[w == 1].float().mean().item()
            print(f"step {step} ({done:.0%}) loss {losses[w == 1].mean().item():.4f} right {right:.4f} "
                  f"all {losses.mean().item():.4f} tokens {tokens} length {ids.shape[1]} "
                  f"{time.time() - began:.0f} s", flush=True)
        if step % 500 == 499:
            save(model, tok, args.out)
    print(f"{step + 1} steps, {tokens} tokens, {time.time() - began:.0f} s")


def save(model, tok, out):
    model.save_pretrained(out)
    tok.save(str(out / "tokenizer.json"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--start", help="continue with the model of this folder, at the later stages")
    parser.add_argument("--seconds", type=float, default=1e9, help="shorten the schedule to this time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 2))
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_float32_matmul_precision("high")
    tok = tokenizer.train()
    # before the first use of the GPU, which a forked process could not share
    with multiprocessing.get_context("fork").Pool(args.workers, open_worker, (tok.to_str(),)) as pool:
        model = Qwen2ForCausalLM.from_pretrained(args.start) if args.start else new_model(tok)
        model = model.to(args.device)
        train(model, tok, pool, args)
    save(model, tok, args.out)
    share, kinds = accuracy(model, tok, held_out(random.Random(99), tok, 300))
    print(f"held out: {share:.4f} of 300, by kind (asked, right) {json.dumps(kinds)}")


if __name__ == "__main__":
    main()
