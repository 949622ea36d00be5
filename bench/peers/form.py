"""What bench.csv and decode.csv look like, and the statistics of their times. Needs no torch."""

import csv
import datetime
import math
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def bench_columns():
    """As bench/report.h lists them."""
    text = (ROOT / "bench/report.h").read_text()
    body = text.split("#define BENCH_COLUMNS(X)")[1].split("/* clang-format on */")[0]
    return re.findall(r"X\((\w+)\)", body)


def decode_columns():
    """As model/decode_bench.c writes them, and who was measured."""
    text = (ROOT / "model/decode_bench.c").read_text()
    literals = re.search(r'"decode\.csv",\s*((?:"[^"]*"\s*)+)', text).group(1)
    names = "".join(re.findall(r'"([^"]*)"', literals)).split(",")
    return names + [name for name in ("peer", "peer_version", "date") if name not in names]


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
