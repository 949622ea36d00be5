"""What bench.csv, decode.csv and prefill.csv look like, the statistics of their times, and what the sources say of models
and types. Needs no torch."""

import csv
import datetime
import math
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ["qwen2.5-0.5b", "qwen2.5-7b"]  # measured unless others are asked for
NEAR = 1.5


def bench_columns():
    """As bench/report.h lists them."""
    text = (ROOT / "bench/report.h").read_text()
    body = text.split("#define BENCH_COLUMNS(X)")[1].split("/* clang-format on */")[0]
    return re.findall(r"X\((\w+)\)", body)


def logged_columns(source, name):
    """As a source writes them into a CSV of that name, and who was measured."""
    text = (ROOT / source).read_text()
    literals = re.search(r'"%s",\s*((?:"[^"]*"\s*)+)' % re.escape(name), text).group(1)
    names = "".join(re.findall(r'"([^"]*)"', literals)).split(",")
    return names + [name for name in ("peer", "peer_version", "date") if name not in names]


def decode_columns():
    return logged_columns("model/decode_bench.c", "decode.csv")


def prefill_columns():
    return logged_columns("model/prefill_bench.c", "prefill.csv")


def sizes():
    """The named models, as model/sizes.c lists them."""
    rows = re.findall(r'\{"([^"]+)", ((?:\d+, ){6})(true|false)\}', (ROOT / "model/sizes.c").read_text())
    fields = ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab")
    return {name: dict(zip(fields, map(int, numbers.split(", ")[:6])), tied=tied == "true")
            for name, numbers, tied in rows}


def grid_lengths():
    """At which warpsmith-bench times attention on a GPU, as tuner/tasks.c lists them."""
    text = (ROOT / "tuner/tasks.c").read_text()
    return [int(n) for n in re.search(r"gpu_lengths\[\] = \{([\d, ]+), 0\}", text).group(1).split(", ")]


def attention_shapes(path, lengths=None):
    """(heads, kv heads, head dim, length) in their order: of bf16 caches that bench.csv has cold rows of in a graph; those of
    MODELS at lengths, or where there is no such row at those of the bench."""
    shapes = set()
    if not lengths and path.exists():
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                shape = re.fullmatch(r"(\d+)/(\d+)/(\d+)@(\d+)", row["shape"])
                kind = row["kernel"], row["state"], row["launch"]
                if shape and kind == ("gqa_attention", "cold", "graph") and "kv=bf16" in row["case"].split():
                    shapes.add(tuple(map(int, shape.groups())))
    heads = [(c["heads"], c["kv_heads"], c["hidden"] // c["heads"]) for c in map(sizes().get, MODELS)]
    return sorted(shapes or {(*h, n) for h in heads for n in lengths or grid_lengths()})


def dtype_bytes(name, n):
    """Bytes of n elements, by core/dtype.h."""
    row = re.search(r"X\(\w+, %s, \d+, (\d+), ([\d, ]+)\)" % name, (ROOT / "core/dtype.h").read_text())
    return n // int(row.group(1)) * sum(map(int, row.group(2).split(", ")))


def cache_bytes(c, context):
    """Of keys and values of two bytes."""
    return 4 * c["layers"] * c["kv_heads"] * (c["hidden"] // c["heads"]) * context


def slug(device):
    """'NVIDIA H200' to 'nvidia-h200', as device/cuda.c does."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def rank(n, confidence=0.95):
    """The largest r for which the r-th smallest and r-th largest of n samples enclose the median; 0: none."""
    tail, r = 0.0, 0
    for i in range(n // 2 + 1):
        tail += math.comb(n, i) * 0.5**n
        if tail > (1 - confidence) / 2:
            return r
        r = i + 1
    return r


def interval(samples):
    """Median and its 95 % interval."""
    s = sorted(samples)
    n = len(s)
    middle = s[n // 2] if n % 2 else (s[n // 2 - 1] + s[n // 2]) / 2
    r = max(rank(n), 1)
    return middle, s[r - 1], s[n - r]


def left_out(us):
    """Of ways timed in short, why each is not timed in full: None where it is near the fastest."""
    best = min(us, default=0)
    return [f"left out: {x:.4g} us in short, more than {NEAR:g} times the fastest's {best:.4g}" if x > NEAR * best else None
            for x in us]


def cell(value):
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return "%.6g" % value
    return re.sub(r"[\r\n]+", " ", str(value))


class Log:
    """FOLDER/<device>/NAME, appended to; a file whose header is another is an error."""

    def __init__(self, folder, device, name, columns):
        self.columns = columns
        self.device = device
        path = pathlib.Path(folder) / slug(device)
        path.mkdir(parents=True, exist_ok=True)
        self.path = path / name
        if self.path.exists():
            with open(self.path, newline="") as file:
                header = next(csv.reader(file), None)
            if header and header != columns:
                raise SystemExit(f"peers: {self.path}: its header is not '{','.join(columns)}'")
            fresh = not header
        else:
            fresh = True
        self.file = open(self.path, "a", newline="")
        self.writer = csv.writer(self.file, lineterminator="\n")
        if fresh:
            self.writer.writerow(columns)
            self.file.flush()

    def row(self, **values):
        unknown = set(values) - set(self.columns)
        assert not unknown, unknown
        values.setdefault("device", self.device)
        if "date" in self.columns:
            now = datetime.datetime.now(datetime.timezone.utc)
            values.setdefault("date", now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.writer.writerow([cell(values.get(name)) for name in self.columns])
        self.file.flush()
