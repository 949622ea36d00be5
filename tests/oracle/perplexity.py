"""Perplexity of the texts of the rows tiny-* by transformers in float32:
python perplexity.py MODEL.gguf DATA

Writes DATA/perplexity.csv with the columns text,predicted,nats: the text, the number of tokens that are predicted from
those before them, and the mean of their negative log-likelihoods."""

import csv
import pathlib
import sys

import torch

import gguf_file
import tokenizer_golden


@torch.no_grad()
def nats_of(model, ids):
    logits = model(torch.tensor([ids])).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:])).item()


def main():
    path, data = sys.argv[1], pathlib.Path(sys.argv[2])
    model, tok = gguf_file.load(path), tokenizer_golden.from_model(path)
    with open(data / "perplexity.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["text", "predicted", "nats"])
        for text in sorted((data / "tiny").glob("*.txt")):
            ids = tok.encode(text.read_text()).ids
            out.writerow([f"tiny/{text.name}", len(ids) - 1, "%.9g" % nats_of(model, ids)])


if __name__ == "__main__":
    main()
