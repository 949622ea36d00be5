"""Train the bundled model and write it to a folder: python train.py OUT [--steps N]

A Qwen2 of 1.6 M parameters learns the language of language.py. Prints the share of held-out long-range
questions that it answers right by greedy decoding.
"""

import argparse
import json
import math
import pathlib
import random
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import language
import tokenizer

CONFIG = dict(hidden_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
              intermediate_size=384, rms_norm_eps=1e-6, max_position_embeddings=1024,
              rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True,
              use_sliding_window=False, attention_dropout=0.0)
END = tokenizer.SPECIAL[0]
SEED = 20250101

# share of the steps, facts, distractors, moves, questions (0: one or a few, as in use), documents
STAGES = [(0.25, (3, 6), (0, 2), (0, 0), 6, 48),
          (0.25, (5, 12), (0, 6), (0, 1), 12, 24),
          (0.30, (8, 18), (2, 12), (0, 1), 16, 16),
          (0.20, (8, 18), (4, 12), (0, 1), 0, 24)]
OTHER_WEIGHT = 0.1      # loss weight of a token that is not part of an answer


def stage_of(progress):
    for stage in STAGES:
        progress -= stage[0]
        if progress < 0:
            return stage
    return STAGES[-1]


def batch(rng, tok, stage):
    """(ids, weights) of shape (documents, longest), padded with the end marker at weight 0."""
    _, facts, distractors, moves, count, documents = stage
    texts, spans = [], []
    for _ in range(documents):
        story = language.make_story(rng, rng.randint(*facts), rng.randint(*distractors),
                                    rng.randint(*moves))
        n = count
        if n == 0:
            n = 1
            while rng.random() < 0.4:
                n += 1
        n = min(n, len(story.questions))
        text, span = language.document(story, rng.sample(story.questions, n))
        texts.append(text + END)
        spans.append(span)
    encoded = tok.encode_batch(texts)
    longest = max(len(e.ids) for e in encoded)
    ids = torch.full((documents, longest), tok.token_to_id(END))
    weights = torch.zeros(documents, longest)
    for row, (e, span) in enumerate(zip(encoded, spans)):
        ids[row, :len(e.ids)] = torch.tensor(e.ids)
        weights[row, :len(e.ids)] = OTHER_WEIGHT
        starts = [s for s, _ in e.offsets]
        for a, b in span:
            for i in range(len(starts)):
                if a <= starts[i] < b:
                    weights[row, i] = 1.0
        weights[row, len(e.ids) - 1] = 1.0
    return ids, weights


def look_back(model, pairs=10, amplitude=6.5):
    """Start head h of the first layer as one that attends h + 1 tokens back, by its biases alone.

    Under RoPE a query bias and a key bias give the score sum_i |q_i||k_i| cos(theta_i (m - n) + phi_i),
    which peaks at m - n = d for phi_i = -theta_i d; the fast pairs make the peak sharp."""
    c = model.config
    dim = c.hidden_size // c.num_attention_heads
    theta = 1e6 ** (-torch.arange(pairs) * 2.0 / dim)
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        for h in range(c.num_key_value_heads):
            attention.k_proj.bias[h * dim:h * dim + pairs] = amplitude
        for h in range(c.num_attention_heads):
            at = h * dim
            attention.q_proj.bias[at:at + pairs] = amplitude * torch.cos(theta * (h + 1))
            attention.q_proj.bias[at + dim // 2:at + dim // 2 + pairs] = \
                -amplitude * torch.sin(theta * (h + 1))


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
        logits = model(torch.tensor([ids + want])).logits[0, len(ids) - 1:-1]
        # greedy decoding yields `want` exactly if each of its tokens is the argmax after the others
        ok = logits.argmax(-1).tolist() == want
        right += ok
        n, r = by_kind.get(kind, (0, 0))
        by_kind[kind] = (n + 1, r + ok)
    return right / len(cases), by_kind


def new_model(tok):
    torch.manual_seed(SEED)
    end = tok.token_to_id(END)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=tok.get_vocab_size(), bos_token_id=end,
                                         eos_token_id=end, **CONFIG))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.normal_(0, 0.5 / math.sqrt(p.shape[1]))
    look_back(model)
    return model


def train(tok, steps, log):
    model = new_model(tok)
    hidden = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    other = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "embed" not in n)]
    optimizers = [torch.optim.Muon(hidden, lr=4e-3, weight_decay=0.01,
                                   adjust_lr_fn="match_rms_adamw"),
                  torch.optim.AdamW(other, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)]
    peak = [g["lr"] for o in optimizers for g in o.param_groups]
    rng = random.Random(SEED)
    began, tokens = time.time(), 0
    for step in range(steps):
        progress = step / steps
        scale = min(1.0, (step + 1) / 50) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))
        for o in optimizers:
            for g, lr in zip(o.param_groups, peak):
                g["lr"] = lr * scale
        ids, weights = batch(rng, tok, stage_of(progress))
        hidden_states = model.model(ids[:, :-1]).last_hidden_state
        targets, weights = ids[:, 1:], weights[:, 1:]
        keep = weights > 0
        losses = torch.nn.functional.cross_entropy(model.lm_head(hidden_states[keep]), targets[keep],
                                                   reduction="none")
        w = weights[keep]
        loss = (losses * w).sum() / w.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        tokens += ids.numel()
        if step % 25 == 0 or step == steps - 1:
            answers = losses[w == 1].mean().item()
            log(f"step {step} loss {loss.item():.4f} answers {answers:.4f} "
                f"tokens {tokens} length {ids.shape[1]} {time.time() - began:.0f} s")
        if step % 200 == 199:
            share, kinds = accuracy(model, tok, held_out(random.Random(7), tok, 50))
            log(f"held out {share:.3f} {kinds}")
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tok = tokenizer.train()
    model = train(tok, args.steps, lambda s: print(s, flush=True))
    model.save_pretrained(args.out)
    tok.save(str(args.out / "tokenizer.json"))
    share, kinds = accuracy(model, tok, held_out(random.Random(99), tok, 1000))
    print(f"held out: {share:.4f} of 1000, by kind {json.dumps(kinds)}")


if __name__ == "__main__":
    main()
