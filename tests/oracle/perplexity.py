"""Perplexity of texts as transformers computes it: python perplexity.py MODELS DATA

Writes DATA/perplexity/stories.txt, in the bundled model's language, and DATA/perplexity.csv: model, text,
length of a window, number of predicted tokens, mean negative log likelihood in nats. Windows follow each other;
each begins with no context, and a token is predicted from those before it in the window where it is not fed.
"""

import csv
import pathlib
import random
import sys

import gguf
import torch

import gguf_file
import language
import tokenizer

# model, text, window
ROWS = [("../../models/warpsmith-tiny.gguf", "perplexity/stories.txt", 1024),
        ("../../models/warpsmith-tiny.gguf", "perplexity/stories.txt", 100),
        ("golden/q8_0-g2-d64-long.gguf", "tiny/ball.txt", 512),
        ("golden/q4_k_m-g2-d64-tied.gguf", "tiny/ball.txt", 128)]


def tokenizer_of(path):
    """The tokenizer that the file holds."""
    fields = gguf.GGUFReader(str(path)).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    return tokenizer.build({t: i for i, t in enumerate(tokens) if not t.startswith("[PAD")}, merges)


def stories():
    """Questions about three stories, one behind the other."""
    rng = random.Random(7)
    texts = []
    for _ in range(3):
        story = language.make_story(rng, 12, 8, 1)
        texts.append(language.document(story, rng.sample(story.questions, 4))[0])
    return "".join(texts)


@torch.no_grad()
def nats(model, ids, window):
    """(number of predicted tokens, their mean negative log likelihood)"""
    total = 0.0
    for start in range(0, len(ids) - 1, window):
        logits = model(torch.tensor([ids[start:start + window]])).logits[0]
        wanted = torch.tensor(ids[start + 1:start + window + 1])
        chosen = torch.log_softmax(logits.double(), -1)[:len(wanted)]
        total -= chosen.gather(1, wanted[:, None]).sum().item()
    return len(ids) - 1, total / (len(ids) - 1)


def main():
    data = pathlib.Path(sys.argv[2])
    models = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    (data / "perplexity").mkdir(exist_ok=True)
    (data / "perplexity/stories.txt").write_text(stories())
    with open(data / "perplexity.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["model", "text", "window", "predicted", "nats"])
        for name, text, window in ROWS:
            path = models / pathlib.Path(name).name if name.startswith("..") else data / name
            ids = tokenizer_of(path).encode((data / text).read_text()).ids
            predicted, mean = nats(gguf_file.load(path), ids, window)
            out.writerow([name, text, window, predicted, "%.9g" % mean])


if __name__ == "__main__":
    main()
