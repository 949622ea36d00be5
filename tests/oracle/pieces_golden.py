"""Pieces that HF's pre-tokenizer cuts tricky strings into: python pieces_golden.py DATA

Writes DATA/pieces_golden.csv with the columns text_hex,bytes: UTF-8 bytes of the text, and the number of
bytes of each of its pieces, separated by spaces. Ids alone show a wrong cut only where a merge crosses it.
"""

import csv
import pathlib
import sys

from tokenizers import Regex, pre_tokenizers

import tokenizer
import tokenizer_golden


def main():
    split = pre_tokenizers.Split(Regex(tokenizer.PRE_TOKENIZER), behavior="isolated", invert=False)
    with open(pathlib.Path(sys.argv[1]) / "pieces_golden.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["text_hex", "bytes"])
        for text in [*tokenizer_golden.TEXTS, *tokenizer_golden.stress(800)]:
            pieces = [piece.encode() for piece, _ in split.pre_tokenize_str(text)]
            assert b"".join(pieces) == text.encode()
            out.writerow([text.encode().hex(), " ".join(str(len(p)) for p in pieces)])


if __name__ == "__main__":
    main()
