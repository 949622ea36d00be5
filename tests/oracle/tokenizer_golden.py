"""Ids of tricky strings from HF tokenizers, with a model's vocabulary: python tokenizer_golden.py MODEL.gguf DATA

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

from gguf import GGUFReader

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
# By kind, each in the ways that a cut or a merge can go wrong.
TEXTS += [
    # contractions: case, what stands before and behind, other apostrophes, folded letters
    "he'll've", "I'd've", "y'all're", "O'Re'illy", "'Twas 'tis", "dogs' toys", "'d'D'm'M", "can't.won't", "5's 5'S", "\u00e9's",
    "'s\n't", "it's\t'll", "''ll", "'\u017f\u017f", "don't\u2019t", "`s 's", "'RE're'rE", "x'T'T'T", "'ve've 've", "\u4e2d's",
    # digits: alone, beside letters and signs, of other scripts
    "0", "00", "1 2 3", "12:34:56", "2024-02-29T23:59:60Z", "1e-10", "+49 (0)30 123", "1.2.3.4", "x1y22z333", "5th 1st 2nd",
    "\u0661\u0662a", "\uff11\uff12", "\u2460\u2461", "\u00b9\u00b2\u00b3", "\u0e51\u0e52", "\u09e7\u09e8 3", "7\u0301", "$1,000.00",
    # line breaks and mixed white space
    "\r", "\r\r", "\n\r", "a\r\n", "\r\na", "a\r\n\r\nb", "a \r\n b", "a\n\r\nb", "\t\n", "\n\t", " \t\n\t ", "a\t\t\tb", "  \n  \n  a",
    "a \n", "a  \n\n  ", "\u00a0a", " \u00a0 a", "\u2003\u2003a", "a\u3000\u3000", "\x0b\x0c a", "\u0085\n a", "\u2028\u2029a", "x \u2009\u200ay",
    "end.\n\nNext", "a;\r\n\tb;\r\n", "\n" * 3 + " " * 3, " " * 3 + "\n" * 3 + "x",
    # emoji: with selectors, joiners, skin tones, keycaps and flags
    "\u2764\ufe0f\u2764", "\u2600\ufe0e", "a\u2764\ufe0fb", "\u270c\ufe0f\u200d", "#\ufe0f\u20e3*\ufe0f\u20e3", "\u2620 \u2620", "\u263a!?",
    # CJK, with marks of voice, half and full width, beside Latin
    "\u4e2d\u6587abc\u4e2d\u6587", "\u4e2d \u6587", "\u6f22\u5b57\u304b\u306a\u4ea4\u3058\u308a", "\u304b\u3099\u304d\u3099", "\uff76\uff9e", "\u30d1\u30cf\u309a",
    "\u300c\u5f15\u7528\u300d\u3002", "\u3042\u30fc\u3063", "\u4e00\u3001\u4e8c", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\ud55c\u11a8", "\uac00\u11a7", "\u3131\u314f",
    "\uff21\uff22\uff01",
    # combining marks, composed and not, in every order; what NFC excludes
    "e\u0301", "\u00e9", "e\u0300\u0301", "e\u0301\u0300", "\u1ec7", "e\u0323\u0302", "e\u0302\u0323", "o\u0308\u0304", "\u022b", "s\u0323\u0307", "s\u0307\u0323",
    "\u1e69", "a\u0328\u0301", "\u01df", "u\u0308\u030c", "\u0915\u093c", "\u0b47\u0b3e", "\u0cc6\u0cd5", "\u2adc", "\u0958\u0301", "\u1f00\u0301", "\u03b1\u0313\u0301",
    "\u0340\u0341", "\u212a\u2126", "x\u0338\u0301", "=\u0338", "<\u0338", "i\u0307", "\u0130", "caf\u00e9 cafe\u0301", "\u0301\u0301", "1\u0301\u0301 ",
    # Thai, Lao and others that write no spaces or stack marks
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22", "\u0e01\u0e33", "\u0e01\u0e4d\u0e32", "\u0e40\u0e01\u0e48\u0e49", "\u0e17\u0e35\u0e48 1", "\u0ea5\u0eb2\u0ea7", "\u1019\u103c", "\u0e01\u0e38\u0e48\u0e01",
    "\u1780\u17d2\u1781",
    # Arabic and Hebrew: marks, ligatures, joiners, directions
    "\u0644\u0627", "\ufefb", "\u0627\u0653", "\u0622", "\u0645\u0640\u0640\u0645", "\u0628\u064e\u0651", "\u0628\u0651\u064e", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u060c \u0661", "\u06cc\u200c\u0647",
    "\u200fabc\u200e", "\u05d0\u05bc\u05b7", "\ufb2e", "\u0634\u062f\u0651\u064e\u0629",
    # special tokens: cut, nested, beside marks and white space
    "<|im_start|><|im_start|>", "<|im_<|im_end|>end|>", "<|im_end|", "|im_end|>", "<|im_end|>\r\n", " \n<|endoftext|>\n ", "<|im_start|>system", "<|Im_End|>",
    "<<|im_end|>>", "x<|im_end|>'s", "5<|im_end|>5", "<|im_end|>\u0301a", "e\u0301<|im_end|>", "<|im_end |>", "<|endoftext|>the<|endoftext|>the", "<|fim_prefix|>",
]
# Emoji came after Unicode 3.2 but are outside every class the pre-tokenizer names, assigned or not.
TEXTS += ["\U0001f600", "\U0001f600\U0001f600 \U0001f44d", "ok\U0001f44d\U0001f3fd!",
          "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", " \U0001f389\n"]


def from_model(path):
    """The tokenizer of a GGUF file whose vocabulary ends with tokenizer.SPECIAL."""
    fields = GGUFReader(path).fields
    tokens, merges = (fields["tokenizer.ggml." + key].contents() for key in ("tokens", "merges"))
    return tokenizer.build({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges])


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
    data = pathlib.Path(sys.argv[2])
    tok = from_model(sys.argv[1])
    write(data / "tokenizer_golden.csv", tok, TEXTS)
    write(data / "tokenizer_stress.csv", tok, stress(1500))


if __name__ == "__main__":
    main()
