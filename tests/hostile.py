"""Run folders of strangers, made by a seed, and what is wrong with how a command takes them.

A copy of a good run is damaged, or made hostile, in one of the ``KINDS`` of ways. Beside it lies a folder
that nothing may touch. A command must end with the exit code 0 or 2 and a line or two, in a second and
100 MB, and open, list or change nothing outside of the run.
"""

import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import charrnn
from charrnn.cli import main
from charrnn.layers import Array
from charrnn.npz import read_arrays, write_arrays
from charrnn.training import trainer

CPU_SECONDS, MEMORY_MB, HANG_SECONDS = 1.0, 100.0, 60.0
SECRET = "a secret from outside"
NPZ = ["last.npz", "last.npz", "best.npz", "best.npz", "step-4.npz"]  # as often as commands read them
SMALL = ["--hidden-size", "3", "--seq-length", "4", "--batch-size", "3", "--threads", "1"]
RESUME = ["train", "--resume", "--out", "{run}", "--max-steps", "8"]
READ = [["eval", "{run}"], ["sample", "{run}", "--length", "5"]]
READ += [["sample", "{run}", "--length", "5", "--which", "last", "--novelty"]]
NEW = ["train", "{text}", "--overwrite", "--out", "{run}", "--max-steps", "2", *SMALL]
COMMANDS = [*READ, *READ, RESUME, RESUME, [*RESUME, "--from", "step-4.npz"], NEW]
PLOT = [["plot", "{run}", "--out", "{run}/losses.svg"]] if find_spec("matplotlib") else []
PROCESS = [f"/proc/{os.getpid()}/{name}" for name in ("maps", "cgroup")]  # libraries, and cores to use
OWN = (sys.prefix, sys.base_prefix, str(Path(charrnn.__file__).parent), "/sys/fs/cgroup", *PROCESS)
FILES = [*NPZ[1:3], "step-4.npz", "step-2.npz", "config.json", "metrics.jsonl", "tokens.bin", ".lock"]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 50, 100, 3.5, -0.0, 1e300, 1e-300, float("nan"), float("inf"), 2**31,
    2**53, 2**62, 2**63, 10**18, 10**400, "", "x", "a\0b", "\ud800", "\x1b]0;x\a", "a\nb\nc", "\u202e",
    "9" * 5000, "x" * 10**5, [], [1], [[1, 2]], [0] * 10**5, {}, {"a": 1}, "auto", "utf-7", "utf-16", "rot13",
    "idna", "gru", "float64", "sgd", "-", "**/*", "**/" * 20 + "x", "../*", "*" * 1000, "f" * 64,
]  # fmt: skip
PLACES = ["/", "/dev/zero", "/proc/self/environ", "/proc/kmsg", "/dev/stdin", "-", "~", "../../etc/passwd"]
INSIDE = ["", "link", "linked/text.txt", "bomb.txt.gz", "fifo", "books", "../outside/victim.sh", "text.txt"]
GLOBS = ["*.txt", "*", "**/*", "**/" * 300 + "*", "../*", "/", "[", "", "books/**/*.txt"]
CODECS = ["utf-8"] * 5 + ["utf-7", "idna", "punycode", "rot13", "unicode_escape", "x\0"]
SHAPES: list[Any] = [(160_000, 160_000), (2**62, 2**62), (-1,), (0,), (2**40, 0), (), (True,)]
DTYPES: list[Any] = ["<f4", "|O", "<U0", "|V0", "<M8[s]", [("a", "<f4")], ">c16", "|S3", "<U1000000"]
MEMBERS = ["", "../../evil.npy", "/etc/x.npy", "a\\b", "W_aa", "\ud7ff", "x" * 60_000]
HEADERS = [b"\1\0\xff\xff", b"\2\0\xff\xff\xff\x7f", b"\3\0\5\0", b"\1\0\5\0"]
SYMBOLS = [list(range(10**5)), [0, 0], [98, 97], [0x10FFFF], list(range(256)), [0xD800, 0xDFFF]]
LEFTOVERS = [".last.npz.new", ".config.json.new", ".best.npz.new", ".step-8.npz.new", "step-5.npz"]
FURTHER = ["step-99999999999999999.npz", "step-07.npz", "step-.npz", "a\nb", "\udcff", *LEFTOVERS]


# -- what is opened, listed and changed -------------------------------------------------------------

RECORDS: list[list[tuple[str, str]]] = []
CHANGES = ["os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"]
CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def record(event: str, args: tuple[Any, ...]) -> None:
    if not (RECORDS and event in ("open", "os.listdir", "os.scandir", *CHANGES)):
        return
    follows = event == "open" and not args[2] & (getattr(os, "O_NOFOLLOW", 0) | os.O_EXCL)
    verb = "list" if "dir" in event and event not in CHANGES else "open"
    if event in CHANGES or (event == "open" and args[2] & CREATES):
        verb = "change"
    for path in args[: 1 + (event in ("os.rename", "os.link"))]:
        if not isinstance(path, int | None):  # a file that is open already, or the working folder
            real = Path(os.fsdecode(path)).parent.resolve() / Path(os.fsdecode(path)).name
            RECORDS[-1].append((verb, str(real.resolve() if follows else real)))


sys.addaudithook(record)  # it cannot be removed again, and does nothing while nothing is recorded


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """A list of the files and folders that are opened, listed or changed, or tried to be, links followed."""
    RECORDS.append([])
    try:
        yield RECORDS[-1]
    finally:
        RECORDS.pop()


# -- files with a right checksum --------------------------------------------------------------------


def npz(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """An npz file of these members (name, bytes), with a right checksum."""
    blob = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(blob, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
        archive.comment = b"sha256:" + bytes(64)
    path.write_bytes(sealed(path.name, blob.getvalue()))
    return path


def npy(shape: object, descr: object = "<f4", content: bytes = b"") -> bytes:
    """An npy file whose header claims what it likes."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def sealed(name: str, blob: bytes) -> bytes:
    """The content of a file of that name with its hash made right again."""
    if name.endswith(".npz"):
        body = blob[:-71] + b"sha256:"
        return body + hashlib.sha256(body).hexdigest().encode()
    return blob[:-32] + hashlib.sha256(blob[:-32]).digest() if name.endswith(".bin") else blob


# -- strangers --------------------------------------------------------------------------------------


@dataclass
class Place:
    """A good run, its copy that is made hostile, a text to name, and a folder that must stay as it is."""

    good: Path
    run: Path
    text: Path
    outside: Path
    before: dict[str, bytes | None] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> "Place":
        place = cls(*(folder.resolve() / name for name in ("good", "run", "text.txt", "outside")))
        place.text.write_text("the fox asked the hen. " * 40)
        sizes = ["--num-layers", 2, "--embedding-size", 2, "--max-steps", 6, "--eval-every", 2, "--keep", 3]
        with patch.object(trainer, "OFTEN", 0):
            code, _, said = run_command("train", place.text, "--out", place.good, *SMALL, *sizes)
        assert code == 0, said
        note = json.loads((place.good / "config.json").read_text())["corpus"]
        (place.outside / "books").mkdir(parents=True)
        for name in FILES[:-1]:  # an empty .lock shows no change
            shutil.copy(place.good / name, place.outside)
        (place.outside / f"{note['sha256'][:32]}.utf-8.bin").write_text(SECRET)
        (place.outside / "victim.sh").write_text(f"echo {SECRET}\n" * 9)
        (place.outside / "bomb.txt.gz").write_bytes(gzip.compress(bytes(2**27)))
        os.mkfifo(place.outside / "fifo")
        shutil.copytree(place.good, place.run)
        for words in COMMANDS + PLOT:  # what they import is not counted
            code, _, said = run_command(*(word.format(run=place.run, text=place.text) for word in words))
            assert code == 0, said
        place.before = place.contents()
        return place

    def contents(self) -> dict[str, bytes | None]:
        """The names of what lies outside, with the bytes of files."""
        paths = self.outside.rglob("*")
        return {str(path): path.read_bytes() if path.is_file() else None for path in paths}

    def paths(self) -> list[str]:
        """Places that a stranger might like to have read, walked or overwritten."""
        outside = [self.outside, *sorted(self.outside.iterdir()), self.outside / "new" / "folder"]
        return [*PLACES, *map(str, outside), *(f"{self.run}/{name}" for name in INSIDE)]


Stranger = Callable[[Place, random.Random], object]


def absurd(place: Place, rng: random.Random) -> Any:
    """Anything that JSON can say, and some that it cannot."""
    return rng.choice([*VALUES, *place.paths(), rng.randrange(-(2**70), 2**70), rng.random(), place.paths()])


def bend(values: Any, value: object, rng: random.Random) -> None:
    """Put an absurd value into one of the fields of a JSON object; or take one out, or put one in."""
    key = rng.choice([*values, "more", "self"])
    if isinstance(values.get(key), dict) and rng.random() < 0.9:
        bend(values[key], value, rng)
    elif rng.random() < 0.1:
        values.pop(key, None)
    else:
        values[key] = value


def damaged_bytes(place: Place, rng: random.Random) -> None:
    """Bits flipped, bytes cut out, doubled, zeroed or random, a file cut or lengthened, two spliced."""
    path = place.run / rng.choice(FILES[:-1])
    blob, other = bytearray(path.read_bytes()), (place.run / rng.choice(FILES)).read_bytes()
    i, j = sorted(rng.randrange(len(blob)) for _ in range(2))
    match rng.randrange(9):
        case 0:
            blob[i] ^= 1 << rng.randrange(8)
        case 1:
            del blob[i:]
        case 2:
            del blob[i : j + 1]
        case 3:
            blob[i:j] = rng.randbytes(j - i)
        case 4:
            blob[i:i] = blob[i : j + 1]
        case 5:
            blob[i:] = bytes(len(blob) - i)
        case 6:
            blob += rng.randbytes(rng.randrange(1, 200))
        case 7:
            blob[i:] = other[rng.randrange(len(other) + 1) :]
        case 8:
            blob[i:j] = rng.choice([b"9", b"-", b"\0", b"\xff", b"[", b"{", b"\n"]) * rng.choice([1, 9, 2000])
    path.write_bytes(sealed(path.name, blob) if rng.random() < 0.5 else blob)


def another(a: Array, rng: random.Random) -> Array:
    """An array in place of ``a``: of another shape, dtype, byte order, or with other numbers."""
    number = rng.choice([np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, 0.0])
    where = np.array([rng.random() < 0.3 for _ in range(a.size)], bool).reshape(a.shape)
    scalar = rng.choice(["x", "[" * 10**5, 3, -1, 1.5, 10**18, [1, 2], [], [[1.0]], 2**63])
    dtype = rng.choice(["<f8", ">f4", ">f8", "<f2", "<i8", ">u4", "<u1", "U9", a.dtype.newbyteorder()])
    shape: Any = rng.choice([(0,), (2, 0), (2**40, 0), (3, 4), 10**6 // a.itemsize, (1, *a.shape), a.size])
    text = np.frombuffer(rng.randbytes(80), rng.choice(["<U1", ">U1", "<U20", ">U20"]))[0:1].reshape(())
    choices: list[Callable[[], Array]] = [
        lambda: np.resize(a, shape), lambda: np.asarray(a, dtype), lambda: np.array(scalar), lambda: text,
        lambda: np.where(where, number, a).astype(a.dtype), lambda: np.full(a.shape, number, "f4"),
        lambda: a.T, lambda: np.asfortranarray(a),
    ]  # fmt: skip
    with suppress(ValueError, TypeError, OverflowError, SystemError), np.errstate(all="ignore"):
        return rng.choice(choices)()
    return text


def arrays_of_other_kinds(place: Place, rng: random.Random) -> None:
    """Shapes, dtypes, byte orders, names and numbers in an npz file with a right checksum."""
    path = place.run / rng.choice(NPZ)
    arrays = read_arrays(path)
    names = ["more", "W_aa[2]", "W_aa[3]", "W_aa[99]", "W_ex", "optimizer.", "../../x", *arrays]
    for _ in range(rng.choice([1, 1, 2, 20])):
        name = rng.choice(list(arrays))
        array = arrays.pop(name) if rng.random() < 0.2 else arrays[name]
        arrays[rng.choice([name, name, name, rng.choice(names)])] = another(array, rng)
    write_arrays(path, arrays)


def members_of_an_npz(place: Place, rng: random.Random) -> None:
    """Headers that lie, names that are paths, members twice, left out, by the thousand, or compressed."""
    path = place.run / rng.choice(NPZ)
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    i = rng.randrange(len(members))
    name, content = members[i]
    compression = rng.choice([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED])
    match rng.randrange(8):
        case 0:
            members[i] = name, npy(rng.choice(SHAPES), rng.choice(DTYPES), bytes(rng.choice([0, 4, 12, 400])))
        case 1:
            blob = bytearray(content)
            blob[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            members[i] = name, bytes(blob)
        case 2:
            members[i] = rng.choice(MEMBERS), content
        case 3:
            members.append(members[i])
        case 4:
            del members[i]
        case 5:
            one = npy((1, 1), content=bytes(4))
            members += [(f"{n}.npy", one) for n in range(rng.choice([9, 1990, 2001]))]
        case 6:
            members[i] = name, content[: rng.randrange(len(content))]
        case 7:
            header = b"\x93NUMPY" + rng.choice(HEADERS)
            members[i] = name, header + b"(" * rng.choice([9, 60_000]) + content
    npz(path, *members, compression=compression)


def numbers_beside_the_arrays(place: Place, rng: random.Random) -> None:
    """The JSON in a save: position and settings."""
    path = place.run / rng.choice(["last.npz"] * 5 + ["step-4.npz"])
    arrays = read_arrays(path)
    for _ in range(rng.choice([1, 1, 3])):
        name = rng.choice(["position", "settings"])
        values = json.loads(str(arrays[name]))
        bend(values, absurd(place, rng), rng)
        arrays[name] = np.array(json.dumps(values))
    write_arrays(path, arrays)


def notes(place: Place, rng: random.Random) -> None:
    """Every field of config.json."""
    path = place.run / "config.json"
    note = json.loads(path.read_text())
    for _ in range(rng.choice([1, 1, 3])):
        bend(note, absurd(place, rng), rng)
    path.write_text(json.dumps(note, ensure_ascii=rng.random() < 0.9), errors="surrogatepass")


def texts_elsewhere(place: Place, rng: random.Random) -> None:
    """Sources, cache folders and runs to start from that lead out of the folder, or never end."""
    run, path = place.run, place.run / "config.json"
    (run / "tokens.bin").unlink()
    (run / "link").symlink_to(place.text)
    (run / "linked").symlink_to(place.outside)
    (run / "books").mkdir()
    (run / "books" / "again").symlink_to(run / "books")
    (run / "books" / "a.txt").symlink_to("/dev/zero")
    shutil.copy(place.outside / "bomb.txt.gz", run)
    os.mkfifo(run / "fifo")
    if rng.random() < 0.5:
        shutil.copy(place.text, run)
    note, paths = json.loads(path.read_text()), place.paths()
    corpus = note["corpus"]
    corpus["sources"] = rng.sample(paths, rng.choice([1, 1, 1, 2, 5]))
    if rng.random() < 0.05:
        corpus["sources"] = [f"{run}/{n}" for n in range(900_000 // (len(str(run)) + 10))]
    corpus["cache_dir"] = rng.choice(["", *paths])
    corpus["glob"], corpus["encoding"] = rng.choice(GLOBS), rng.choice(CODECS)
    corpus["size"] = rng.choice([corpus["size"], (run / "bomb.txt.gz").stat().st_size, 0, 2**27, 2**62])
    corpus["bytes"] = rng.random() < 0.1
    note["init_from"] = rng.choice([None, {"run": rng.choice(paths)}])
    path.write_text(json.dumps(note))


def links(place: Place, rng: random.Random) -> None:
    """In the place of a file: links, hard links, pipes, folders."""
    name = rng.choice([*FILES, *LEFTOVERS, ".lock", "metrics.jsonl"])  # two that are written in place
    path, same = place.run / name, place.outside / name
    path.unlink(missing_ok=True)
    match rng.randrange(6):
        case 0:
            path.symlink_to(same if same.exists() else place.outside / "victim.sh")
        case 1:
            path.symlink_to(rng.choice([*PLACES, name, "config.json", "nothing", place.outside / "new"]))
        case 2 | 5:
            os.link(same if same.exists() else place.outside / "victim.sh", path)
        case 3:
            os.mkfifo(path)
        case 4:
            path.mkdir()
            (path / "x").touch()


def sizes(place: Place, rng: random.Random) -> None:
    """Files of megabytes, and of terabytes that take no room."""
    path = place.run / rng.choice(FILES)
    blob = path.read_bytes()
    match rng.randrange(7):
        case 0:
            with path.open("r+b") as file:
                file.truncate(rng.choice([10**6, 10**9, 2**34, 2**34 + 1, 2**40]))
        case 6:
            with path.open("wb") as file:
                file.truncate(5 * 10**8)  # and no end of a line in it
        case 1:
            path.write_bytes(sealed(path.name, blob[:-71] + bytes(4 * 10**6) + blob[-71:]))
        case 2:
            path.write_bytes(sealed(path.name, bytes(4 * 10**6) + blob))
        case 3:
            path.write_bytes(rng.choice([b"[", b'{"a":', b"[[],", b" ", b"\n", b"1", b"{}\n"]) * 250_000)
        case 4:
            many = {str(n): {} for n in range(60_000)}
            values = rng.choice([[[]] * 300_000, many, [{}] * 240_000, "x" * 990_000])
            note = json.loads((place.run / "config.json").read_text())
            bend(note, values, rng)
            (place.run / "config.json").write_text(json.dumps(note))
        case 5:
            arrays = read_arrays(place.run / "last.npz")
            values = json.loads(str(arrays["position"]))
            bend(values, [[n, n] for n in range(rng.choice([19_000, 60_000]))], rng)
            write_arrays(place.run / "last.npz", arrays | {"position": np.array(json.dumps(values))})


def token_files(place: Place, rng: random.Random) -> None:
    """Headers and ids of tokens.bin, its own hash made right."""
    path = place.run / "tokens.bin"
    line, _, rest = path.read_bytes().partition(b"\n")
    header = json.loads(line)
    if rng.random() < 0.3:
        rest = bytes(rng.choice([0, 1, 12, 13, 255, rng.randrange(256)]) for _ in rest[:-32]) + rest[-32:]
        rest = rest[rng.choice([0, 0, 1, len(rest) // 2, len(rest)]) :]
    else:
        bend(header, absurd(place, rng), rng)
    if rng.random() < 0.3:
        header["symbols"] = rng.choice(SYMBOLS)
        header["count"] = rng.choice([len(rest) - 32, (len(rest) - 32) // 2, (len(rest) - 32) // 4, 2**59])
    line = json.dumps(header).encode() + b" " * rng.choice([0, 7, 64, 2_000_000]) + b"\n"
    path.write_bytes(sealed(path.name, line + rest))


def metrics(place: Place, rng: random.Random) -> None:
    """Lines of metrics.jsonl that are none."""
    path = place.run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[0])
    bend(record, absurd(place, rng), rng)
    bent = json.dumps(record).encode()
    line = rng.choice([bent, bent, b"x" * 10**6, b"", b"\0", b"\xff", rng.randbytes(99), b"[" * 10**5])
    lines.insert(rng.randrange(len(lines) + 1), line + rng.choice([b"\n", b"\n", b""]))
    path.write_bytes(b"".join(lines * rng.choice([1, 1, 1, 1000 if len(line) < 1000 else 1])))


def names(place: Place, rng: random.Random) -> None:
    """Further files in the folder, and files away."""
    for _ in range(rng.choice([1, 1, 2, 9])):
        if rng.random() < 0.5:
            shutil.copy(place.good / rng.choice(FILES), place.run / rng.choice([*FURTHER, *FILES]))
        else:
            (place.run / rng.choice(FILES)).unlink(missing_ok=True)


KINDS: tuple[Stranger, ...] = (
    damaged_bytes, damaged_bytes, arrays_of_other_kinds, members_of_an_npz, numbers_beside_the_arrays, notes,
    texts_elsewhere, links, sizes, token_files, metrics, names,
)  # fmt: skip


# -- commands ---------------------------------------------------------------------------------------


@dataclass
class Attempt:
    """A command on a hostile run: how it ended, and what is wrong with that."""

    kind: str
    words: list[str]
    code: object
    seconds: float
    faults: list[str]


class Hung(BaseException):
    """A command does not end."""


def run_command(*words: object) -> tuple[object, str, str]:
    """A command in this process. Returns: its exit code, or a traceback; and what it wrote."""
    out, err = io.TextIOWrapper(raw := io.BytesIO(), "utf-8"), io.StringIO()
    code: object
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(action="error"):
        try:
            code = main(list(map(str, words)))
        except SystemExit as end:
            code = end.code
        except (Exception, Hung):
            code = traceback.format_exc()
        out.flush()
    return code, raw.getvalue().decode(errors="replace"), err.getvalue()


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raise ``Hung`` after so many seconds."""

    def end(number: int, frame: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_memory(*, anew: bool = False) -> float:
    """The most memory that this process has had since it was last counted ``anew``, in MB."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def strays(place: Place, seen: list[tuple[str, str]], words: list[str]) -> list[str]:
    """What of it lies outside of the run, and is neither Python's own nor named by the command."""
    found, mine = [], [str(place.run), *words]
    for verb, path in dict.fromkeys(seen):
        owned = verb != "change" and (path.startswith(OWN) or path in sys.path)  # it looks for modules
        flushed = verb == "open" and Path(path) in place.run.parents
        cached = verb == "open" and re.fullmatch(r"[0-9a-f]{32}\.[\w-]+\.bin", Path(path).name)
        if not (owned or flushed or cached or path in mine or path.startswith(f"{place.run}/")):
            found.append(f"to {verb} {path}")
    return found


def attempt(place: Place, seed: int) -> Attempt:
    """Make a run hostile, by the seed, and run a command on it."""
    rng = random.Random(seed)
    shutil.rmtree(place.run, ignore_errors=True)
    shutil.copytree(place.good, place.run)
    kind = rng.choice(KINDS)
    kind(place, rng)
    if kind is not links and rng.random() < 0.2:
        names(place, rng)
    words = rng.choice(COMMANDS + PLOT if kind in (metrics, sizes) else COMMANDS)
    words = [word.format(run=place.run, text=place.text) for word in words]
    memory, began = peak_memory(anew=True), time.process_time()
    with recorded() as seen, no_longer_than(HANG_SECONDS):
        code, out, err = run_command(*words)
    seconds, memory = time.process_time() - began, peak_memory() - memory
    lines = [line for line in err.splitlines() if not line.endswith("not compared with its source")]
    faults = strays(place, seen, words)
    if code not in (0, 2) or len(lines) > 4 or len(err) > 3000 or (code == 2 and not 1 <= len(lines) <= 2):
        faults.append(f"ended with {code} and said {err[:3000]}")
    if seconds > CPU_SECONDS or memory > MEMORY_MB:
        faults.append(f"took {seconds:.1f} s and {memory:.0f} MB")
    if SECRET in out + err:
        faults.append("said what it must not read")
    if (found := place.contents()) != place.before:
        faults.append("changed what lies outside")
        place.before = found
    return Attempt(kind.__name__, words, code, seconds, faults)
