"""Export the trained model: python bundled.py TRAINED MODELS DATA

Writes MODELS/warpsmith-tiny.gguf and, from the model as a reader of that file sees it, the golden rows
tiny-*, the held-out questions DATA/tiny_questions.csv and the texts DATA/tiny/*.txt.
"""

import csv
import pathlib
import random
import sys

import torch
from gguf import GGMLQuantizationType as Type
from tokenizers import Tokenizer
from transformers import DynamicCache, Qwen2ForCausalLM

import gguf_file
import golden
import language
import tokenizer
import train

# a question about a fact, one about a fact that was replaced, and open ends that the model continues
TEXTS = {
    "ball": "Listen to this story. Anna put the ball in the kitchen. Tom went to the garden. The rain was "
            "far away that day. The ball is red. Mary has 7 coins. A cat could not wait again. Paul likes "
            "Lucy. Oscar put the lamp in the tower. The river was quiet for a while. Felix went to the "
            "school. The old clockmaker changed its mind as always. Nora put the key in the forest. The "
            "train was very slow after lunch. The key is green.\n"
            "Question: Where did Anna put the ball?\nAnswer:",
    "moved": "It was a warm morning. Clara went to the market. The drum is yellow. Simon put the drum in "
             "the hall. The wind made a noise again. Ella likes Victor. Hugo has 3 coins. Nobody was far "
             "away in the end. Then Clara went to the church. The knife is black. David put the rope in "
             "the cellar. The sun did not stop for no reason. Julia went to the barn. A dog came and went "
             "all night long.\nQuestion: Where did Clara go?\nAnswer:",
    "coins": "This is a short story. Peter has 4 coins. Sarah has 9 coins. The bell is purple. Victor put "
             "the bell in the attic. A bird was quiet that day. Alice has 2 coins. Martin likes Sarah. "
             "The train could not wait after lunch. Alice went to the harbour. The vase is white. Emma "
             "put the vase in the office. The rain came and went again.\n"
             "Question: How many coins does Sarah have?\nAnswer:",
    "open": "Once upon a time there was a village by the sea.",
}


class RoundedCache(DynamicCache):
    """Keys and values as a bf16 cache keeps them."""

    def update(self, key, value, *args, **kwargs):
        rounded = [x.to(torch.bfloat16).to(torch.float32) for x in (key, value)]
        return super().update(*rounded, *args, **kwargs)


@torch.no_grad()
def share_right(model, tok, cases, faulty=None):
    """As train.accuracy, with what a fault changes passed to the forward."""
    right = 0
    for prompt, answer, _ in cases:
        ids = tok.encode(prompt).ids
        want = tok.encode(prompt + answer + "\n" + train.END).ids[len(ids):]
        feed = torch.tensor([ids + want])
        logits = model(feed, **(faulty(feed) if faulty else {})).logits[0, len(ids) - 1:-1]
        right += logits.argmax(-1).tolist() == want
    return right / len(cases)


def last_key_skipped(ids):
    """Each position but the first sees all keys before it, not its own."""
    n = ids.shape[1]
    mask = torch.full((n, n), float("-inf")).triu(0)
    mask[0, 0] = 0
    return {"attention_mask": mask[None, None]}


def questions(path, model, tok, cases):
    """The first 40 cases that the model answers right: kind, question, answer, ids of both."""
    written = 0
    with open(path, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["kind", "question", "answer", "prompt_ids", "answer_ids"])
        for prompt, answer, kind in cases:
            ids = tok.encode(prompt).ids
            want, *_ = golden.greedy(model, ids, 24, tok.token_to_id(train.END))
            if tok.decode(want) != answer + "\n":
                continue
            question = prompt.split("\nQuestion: ")[1].split("\n")[0]
            out.writerow([kind, question, answer.strip(), " ".join(map(str, ids)),
                          " ".join(map(str, want))])
            written += 1
            if written == 40:
                break


def main():
    trained, models, data = map(pathlib.Path, sys.argv[1:])
    torch.set_num_threads(1)
    tok = Tokenizer.from_file(str(trained / "tokenizer.json"))
    end = tok.token_to_id(train.END)
    path = models / "warpsmith-tiny.gguf"
    models.mkdir(parents=True, exist_ok=True)
    gguf_file.write(path, Qwen2ForCausalLM.from_pretrained(trained), tok, Type.F16, "warpsmith-tiny")
    model = gguf_file.load(path)
    print(path, path.stat().st_size, "bytes")

    rows = []
    (data / "tiny").mkdir(parents=True, exist_ok=True)
    for name, text in TEXTS.items():
        (data / "tiny" / f"{name}.txt").write_text(text)
        prompt = tok.encode(text).ids
        n = len(prompt)
        new = 96 if name == "open" else 24
        row = golden.record(data, f"tiny-{name}", "../../models/warpsmith-tiny.gguf", Type.F16, model,
                            prompt, new, end, [0, n // 2, n - 1, n + 3])
        ids = list(map(int, (data / row["ids_file"]).read_text().split()))
        print(name, n, "tokens, margin", row["min_margin"], repr(tok.decode(ids)))
        rows.append(row)
    golden.write_manifest(data, rows)

    cases = train.held_out(random.Random(99), tok, 500)
    share, kinds = train.accuracy(model, tok, cases)
    print(f"held out: {share:.4f} of {len(cases)}, by kind (asked, right) {kinds}")
    questions(data / "tiny_questions.csv", model, tok, cases)

    few = cases[:50]
    rounded = lambda ids: {"past_key_values": RoundedCache(), "use_cache": True}
    stuck = lambda ids: {"position_ids": torch.zeros_like(ids)}
    print("bf16 cache:", share_right(model, tok, few, rounded))
    print("position stuck:", share_right(model, tok, few, stuck))
    print("last key skipped:", share_right(model, tok, few, last_key_skipped))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.zero_()
    print("no bias:", share_right(model, tok, few))


if __name__ == "__main__":
    main()
