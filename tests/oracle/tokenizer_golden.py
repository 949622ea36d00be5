"""Ids of tricky strings from HF tokenizers: python tokenizer_golden.py TRAINED DATA

Writes DATA/tokenizer_golden.csv (chosen strings) and DATA/tokenizer_stress.csv (random ones), with the
columns text_hex,ids,decoded_hex: UTF-8 bytes of the text, ids separated by spaces, bytes that the ids
decode to (the text in NFC). All characters were assigned in Unicode 3.2, so every library agrees on
their class.
"""

import csv
import pathlib
import random
import sys
import unicodedata

from tokenizers import Tokenizer

import tokenizer

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\t", "\t\t x", " \n", "\n ", " \n \n ",
    "a", " a", "  a", "   a   ", "a b", "a  b", "a   b", "a\nb", "a\n\nb", "a \n b", "a\r\nb", "a\rb",
    "a\n  b", "a\t b", "a \t b", "x\u00a0y", "x\u3000y", "x \u2003 y", "x\u200by", "x\u2028y",
    "x\u0085y", "x\x0by\x0cz", "x\x1cy\x1fz", "x\u180ey", "a \u180e!", "\u180e\u180e x", "\ufeffx", "\x00", "a\x00b", "\x7f",
    "Anna put the ball in the kitchen.", "Question: Where did Anna put the ball?\nAnswer: Anna put the ball in the hall.\n",
    "I'm you're we've he'd she'll it's don't", "I'M YOU'RE WE'VE HE'D SHE'LL IT'S DON'T", "'s's'S'T'Re",
    "it\u2019s don\u2019t", "'\u017f 'x 'sx '", "l'anna d'x rock'n'roll", "''s ' s", "x's'll've",
    "7", "42", "1234567890", "3.14159", "1,000,000", "-5", "a1b2c3", " 7 coins", "x 7", "v2.0", "0x1F",
    "\u0663\u0664\u0665", "\u00bd \u00b2 \u2167", "\u4e00\u4e8c\u4e09", "\u0967\u0968",
    "!", "!!!", "?!\n", "...", " ...", "... ", "!\n\n", "!\r\n x", " !\n", "a!b", "foo.bar()", "a, b; c: d",
    "(a)[b]{c}", "#include <stdio.h>\nint main(void)\n{\n\treturn 0;\n}\n", "if (x == 0) { return -1; }",
    "/* --- */ // ===", "$100 \u20ac5 \u00a37", "a_b __c__ _d", "C:\\path\\file.txt", "https://x.org/?q=1&r=2",
    "e-mail@example.org", "@user #tag", "100%", "\u201cquoted\u201d \u2014 \u2018single\u2019 \u2026",
    "caf\u00e9", "cafe\u0301", "A\u030a", "\u212b", "\u1e9b\u0323", "\u0344", "e\u0301\u0323", "q\u0307\u0323",
    "n\u0303n\u0303", "\u0301", " \u0301a", "\u0958", "\u2126", "\ufb01", "\uff21\uff22", "\u1100\u1161\u11a8",
    "\uac01", "\ud55c\uad6d\uc5b4 \ud55c\uad6d\uc5b4", "\u4e2d\u6587\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u304b\u3099", "\u30ab\u309a",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a", "\u0e01\u0e33\u0e19\u0e49\u0e33",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645", "\u0645\u064f\u0631\u064e\u062d\u064e\u0628\u064e\u0627",
    "\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0438\u0306", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5",
    "\u0130stanbul \u0131", "\u00df \u1e9e".replace("\u1e9e", "SS"), "z\u0335a\u0336l\u0337g\u0338o",
    "\u2602 \u263a \u2764\ufe0f", "\u260e\ufe0f\u20e3", "1\ufe0f\u20e3",
    "\U0001d400\U0001d401", "\U00010400", "\U0001d15e", "a\u200db", "x\u00ady", "\ue000", "\ufffd",
    "<|endoftext|>", "a<|endoftext|>b", " <|im_start|> ", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext|><|endoftext|>", "<|endoftext", "<|ENDOFTEXT|>", "<| endoftext |>", "e<|im_end|>\u0301",
    "\n<|im_end|>\n", "'s<|im_end|>'s", "[PAD300]", "\u0120the", "\u010a", "\u0100\u0142",
    "the " * 20, "ab" * 40, " " * 17, "\n" * 9, " \n" * 6, "aaaaaaaaaaaaaaaaaaaaaaaa", "Questionnaire", "theball",
    "THE BALL", "tHe bAll", " The  ball\tis   red .", "ballkitchen Annaput",
]
# Emoji came after Unicode 3.2 but are outside every class the pre-tokenizer names, assigned or not.
TEXTS += ["\U0001f600", "\U0001f600\U0001f600 \U0001f44d", "ok\U0001f44d\U0001f3fd!",
          "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", " \U0001f389\n"]


def stress(count):
    rng = random.Random(5)
    old = unicodedata.ucd_3_2_0
    common = [chr(c) for c in range(0x20, 0x7f)] + list(" \n\r\t'")
    marks = [chr(c) for c in range(0x300, 0x370) if old.category(chr(c)) == "Mn"]
    spaces = list(" \t\n\r\x0b\x0c\u0085\u00a0\u2002\u2028\u3000")
    words = ["the", " ball", "'s", "'LL", "Anna", " in", "7", "!!", *tokenizer.SPECIAL]
    anything = [chr(c) for c in range(0x20, 0x1d800)
                if old.category(chr(c)) not in ("Cn", "Cs", "Co")
                and old.category(chr(c)) == unicodedata.category(chr(c))]
    latin = [c for c in anything if ord(c) < 0x500]
    kinds = [common, common, words, words, spaces, marks, latin, anything]
    for _ in range(count):
        yield "".join(rng.choice(rng.choice(kinds)) for _ in range(rng.randint(1, 16)))


def write(path, tok, texts):
    vocab, _ = tokenizer.contents(tok)
    words = list(vocab)
    byte_of = {c: b for b, c in bytes_to_characters().items()}
    with open(path, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["text_hex", "ids", "decoded_hex"])
        for text in texts:
            ids = tok.encode(text).ids
            decoded = b"".join(words[i].encode() if words[i] in tokenizer.SPECIAL else
                               bytes(byte_of[c] for c in words[i]) for i in ids)
            if not any(s in text for s in tokenizer.SPECIAL):
                assert decoded.decode() == unicodedata.normalize("NFC", text), text
            out.writerow([text.encode().hex(), " ".join(map(str, ids)), decoded.hex()])


def bytes_to_characters():
    """{byte: character} of byte-level BPE: printable Latin-1 as itself, the others from U+0100 on."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def main():
    trained, data = map(pathlib.Path, sys.argv[1:])
    tok = Tokenizer.from_file(str(trained / "tokenizer.json"))
    write(data / "tokenizer_golden.csv", tok, TEXTS)
    write(data / "tokenizer_stress.csv", tok, stress(1500))


if __name__ == "__main__":
    main()
