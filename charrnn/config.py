"""What a user can set: one field here is one flag on the command line and one key in a file.

A field's name, bounds, default and description stand here and nowhere else; the command line, the TOML
file and config.json are all read through these models. Settings never change once made.
"""

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from charrnn.errors import ConfigError, brief, setting
from charrnn.files import file_name
from charrnn.layers import CELLS

# field: (other field, the value of the other that gives this one a meaning)
MEANT_FOR = {
    "momentum": ("optimizer", "sgd"),
    "nesterov": ("optimizer", "sgd"),
    "beta1": ("optimizer", "adam"),
    "beta2": ("optimizer", "adam"),
    "min_learning_rate_ratio": ("schedule", "cosine"),
    "learning_rate_decay": ("schedule", "step"),
    "learning_rate_decay_after": ("schedule", "step"),
    "plateau_patience": ("schedule", "plateau"),
    "plateau_factor": ("schedule", "plateau"),
}

# What a field was called by an earlier version; config files and config.json of that time still say so.
RENAMED = {"checkpoint_every": "recompute_every"}

LONG_TEXT = 60_000  # characters, from where on numba has drawn a text before NumPy
# What runs that note no kernels were trained with.
BEFORE_KERNELS = {"kernels": "numpy"}

# Defaults of an optimiser's own, where they differ from those of adam.
DEFAULTS = {"sgd": {"learning_rate": 0.5, "weight_decay": 0.0}}

SEPARATOR_LENGTH = 100  # characters of what ends a document
MISTAKES = 8  # that are named: a file of a megabyte may have tens of thousands, and each takes a search

# What makes a run the run it is: only another run can have it otherwise.
FIXED_ON_RESUME = (
    "cell",
    "num_layers",
    "hidden_size",
    "embedding_size",
    "init",
    "init_scale",
    "input_scale",
    "dtype",
    "seq_length",
    "batch_size",
    "stateless",
    "optimizer",
    "momentum",
    "average",
    "val_fraction",
    "test_fraction",
    "shuffle_documents",
    "seed",
)


class Settings(BaseModel):
    """The base of all settings: frozen, no unknown keys, and errors that name the setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def __init__(self, /, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = error.errors(include_url=False)
            sentences = dict.fromkeys(map(self._sentence, wrong[:MISTAKES]))  # each once
            more = [f"and {len(wrong) - MISTAKES:,} more"] if len(wrong) > MISTAKES else []
            raise ConfigError("; ".join([*sentences, *more])) from None

    @classmethod
    def _sentence(cls, error: Any) -> str:
        """One pydantic error as a sentence."""
        if not error["loc"]:
            if error["type"] == "string_unicode":
                return f"{brief(repr(error['input']))} is not a setting"  # a key with a lone surrogate
            return str(error["ctx"]["error"])
        name = str(error["loc"][0])
        if error["type"] == "extra_forbidden":
            name = brief(name)
            near = difflib.get_close_matches(name, cls.model_fields, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{name!r} is not a setting{hint}"
        message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        if name == "threads":
            message = "should be auto, or a whole number from 1"
        return f"{setting(name)} {brief(error['input'])}: {message}"


if TYPE_CHECKING:
    CellName = str
else:
    CellName = Literal[tuple(CELLS)]  # the table has their names
Whole = Annotated[int, Field(ge=0, lt=2**63)]  # beyond it, arithmetic on arrays and clocks overflows
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**128)]
Threads = Literal["auto"] | Positive
FileName = Annotated[str, AfterValidator(lambda word: word and file_name(word))]


def several(value: Any) -> Any:
    """One text where several can be given."""
    if not isinstance(value, str | bytes | list | tuple):
        raise ValueError("expected a text, or several in a list")
    return (value,) if isinstance(value, str | bytes) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(several)]
Pattern = Annotated[str, Field(max_length=1000)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(several), Field(min_length=1, max_length=100)]


class TextConfig(Settings):
    """Reading the text."""

    bytes: bool = Field(default=False, description="the 256 byte values are the vocabulary; any file will do")
    encoding: str = Field(default="utf-8", max_length=100, description="the encoding of the text files")
    newlines: Literal["lf", "keep"] = Field(
        default="lf", description="line ends: lf makes CR LF and CR an LF; keep leaves them"
    )
    normalize: Literal["none", "nfc"] = Field(
        default="none", description="Unicode form: nfc writes a letter with an accent as one character"
    )
    min_count: Positive = Field(
        default=1, description="drop the characters that occur less often than this in the text"
    )
    glob: Patterns = Field(
        default=("*.txt",), description="which files of a folder to read; several may be given"
    )

    @model_validator(mode="after")
    def _bytes_are_bytes(self) -> "TextConfig":
        for name in ("encoding", "newlines", "normalize", "min_count"):
            if self.bytes and name in self.model_fields_set:
                raise ValueError(f"{setting(name)} has no effect with {setting('bytes')}, which keeps all")
        return self


class CorpusConfig(TextConfig):
    """Documents, and parts of one's own."""

    documents: str = Field(
        default="",
        max_length=SEPARATOR_LENGTH,
        description="what ends a document: line, blank-line, file, or any text; the state is reset where one "
        "begins, and parts are cut between two (default: the text is one)",
    )
    val_file: FileName = Field(
        default="", description="a file to validate on, in place of a part of the text"
    )
    test_file: FileName = Field(default="", description="a file to test on, in place of a part of the text")


class CacheConfig(Settings):
    """The encoded text."""

    cache_dir: FileName = Field(
        default="",
        description="folder to keep it in, under a name made from the text's hash, so that runs on one text "
        "share it (default: the run's own folder)",
    )


class TimeConfig(Settings):
    """The time."""

    minutes: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="train for so long: what no flag says of network and training is chosen from the text, "
        "the speed of this machine and the time, and printed as the flags that repeat the run",
    )


class ModelConfig(Settings):
    """The network."""

    cell: CellName = Field(
        default="rnn",
        description="the recurrent layer: rnn is tanh(x W_ax + a W_aa + b_a); gru and lstm have gates, learn "
        "more from as many characters, and take 3 and 4 times the arithmetic",
    )
    num_layers: int = Field(default=1, ge=1, le=100, description="layers on one another, L")
    hidden_size: int = Field(
        default=256, ge=1, le=1_000_000, description="activations in the hidden state, H"
    )
    embedding_size: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="numbers in a learned embedding of each character; 0 feeds characters one-hot",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="part of each layer's activations left out, at random, of what it sends up, never "
        "of what it sends to its next step; against learning a small text by heart",
    )
    init: Literal["orthogonal", "normal", "identity"] = Field(
        default="orthogonal",
        description="how W_aa starts: orthogonal keeps the state's length over many steps",
    )
    init_scale: float = Field(default=1.0, gt=0, le=1e6, description="factor on that W_aa")
    input_scale: float = Field(
        default=2.0,
        gt=0,
        le=1e6,
        description="how W_ax starts: normal, so that what a character adds to z has this standard deviation",
    )
    dtype: Literal["float32", "float64"] = Field(
        default="float32", description="precision: float32 is twice as fast and as good to train with"
    )


class WindowConfig(Settings):
    """The windows of a step."""

    seq_length: Positive = Field(default=64, description="characters in a window, T; BPTT runs through all")
    batch_size: Positive = Field(default=32, description="parallel streams, B")
    kernels: Literal["auto", "numpy", "numba"] = Field(
        default="auto",
        description="element-wise functions: numpy, or numba, compiled and faster (pip install "
        "'charrnn-numpy[fast]'); auto takes numba where it is installed",
    )


class OptimizerConfig(Settings):
    """The optimiser."""

    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="how a gradient becomes a step")
    learning_rate: float = Field(default=3e-3, gt=0, description="the peak rate; for sgd the default is 0.5")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd: the part of the last step kept")
    nesterov: bool = Field(default=False, description="sgd: look ahead along the momentum")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="adam: decay of the mean gradient")
    beta2: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="adam: decay of the mean square; short runs want it below 0.999",
    )
    weight_decay: float = Field(
        default=0.1,
        ge=0,
        description="pull of the weights to zero, against learning a small text by heart; for sgd the "
        "default is 0",
    )
    schedule: Literal["cosine", "constant", "step", "plateau"] = Field(
        default="cosine", description="the learning rate over the run, after warm-up"
    )
    warmup_steps: Whole = Field(
        default=100, description="steps of linear rise: Adam's first estimates are poor"
    )
    min_learning_rate_ratio: float = Field(
        default=0.01, ge=0, le=1, description="cosine: the last rate as a part of the peak"
    )
    learning_rate_decay: float = Field(
        default=0.97, gt=0, le=1, description="step: factor on the rate at each new epoch"
    )
    learning_rate_decay_after: Positive = Field(
        default=10, description="step: the first decay comes after this many epochs"
    )
    plateau_patience: Positive = Field(
        default=2, description="plateau: validations without improvement before the rate falls"
    )
    plateau_factor: float = Field(
        default=0.5, gt=0, lt=1, description="plateau: factor on the rate each time it falls"
    )
    average: Literal["none", "ema"] = Field(
        default="none",
        description="ema also validates an average of the weights, over the last twentieth of the steps, "
        "and keeps it as the best network where it is; none does not",
    )
    clip_norm: float = Field(
        default=1.0, ge=0, description="longest gradient vector, over all parameters; 0 is off"
    )
    clip_value: float = Field(
        default=0.0, ge=0, description="largest gradient entry, applied before the norm; 0 is off"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_optimizer(cls, values: dict[str, Any]) -> dict[str, Any]:
        return DEFAULTS.get(str(values.get("optimizer")), {}) | values

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "OptimizerConfig":
        for name, (other, value) in MEANT_FOR.items():
            default = type(self).model_fields[name].default
            if getattr(self, name) != default and getattr(self, other) != value:
                raise ValueError(
                    f"{setting(name)} has no effect with {setting(other)} {getattr(self, other)}: "
                    f"it is for {setting(other)} {value}"
                )
        return self


class TrainConfig(OptimizerConfig, WindowConfig, ModelConfig):
    """The run."""

    epochs: Positive = Field(default=50, description="passes over the training part")
    stateless: bool = Field(
        default=False,
        description="read each window by itself, from a state of zeros, the windows in another order each "
        "epoch; for short texts",
    )
    max_steps: Whole = Field(default=0, description="end after this many steps; 0 is no limit")
    val_fraction: float = Field(default=0.05, ge=0, lt=1, description="part of the text to validate on")
    test_fraction: float = Field(
        default=0.05, ge=0, lt=1, description="part of the text, its end, to test on"
    )
    shuffle_documents: bool = Field(
        default=True,
        description="with --documents: shuffle them once, by the seed, before parts are cut",
    )
    seed: Seed = Field(default=0, description="of all that is random: same seed, same run")
    threads: Threads = Field(
        default="auto", description="cores that share a batch, a process on each; auto takes those there are"
    )
    recompute_every: Whole = Field(
        default=0,
        description="keep the activations of every K-th time step only and recompute the others, for "
        "long windows; 0 keeps all within --memory-budget",
    )
    memory_budget: Positive = Field(
        default=1000,
        description="memory for activations, in MB; above it only every √T-th step is stored and the rest "
        "recomputed",
    )
    eval_every: Whole | None = Field(
        default=None,
        description="steps between validations; 0 is only at the end (default: an epoch)",
    )
    sample_every: Whole = Field(default=500, description="steps between samples; 0 is only at the end")
    log_every: Positive = Field(default=10, description="steps between lines in metrics.jsonl")
    save_every: float = Field(
        default=60.0, ge=0, description="seconds between saves of last.npz, besides those at validations"
    )
    keep: int = Field(default=2, ge=1, le=10_000, description="saves kept: last.npz and the ones before it")
    patience: Whole = Field(
        default=0, description="end after this many validations without improvement; 0 is off"
    )
    max_rollbacks: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="how often a run that has diverged goes back to the last validation and on from there "
        "with half the learning rate; 0 is off",
    )

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: dict[str, Any]) -> dict[str, Any]:
        new = {
            old: name for old, name in RENAMED.items() if name not in values
        }  # both: the old one is an error
        return {new.get(name, name): value for name, value in values.items()}

    @model_validator(mode="after")
    def _something_is_left(self) -> "TrainConfig":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"{setting('val_fraction')} {self.val_fraction} and {setting('test_fraction')} "
                f"{self.test_fraction} leave nothing to train on: together they must stay below 1"
            )
        counters = {"patience": self.patience > 0, "schedule": self.schedule == "plateau"}
        counter = next((name for name, counts in counters.items() if counts), None)
        if counter and (self.val_fraction == 0 or self.eval_every == 0):
            what = setting("val_fraction" if self.val_fraction == 0 else "eval_every")
            which = " plateau" if counter == "schedule" else ""
            raise ValueError(f"{setting(counter)}{which} has no effect with {what} 0: it counts validations")
        if self.average == "ema" and self.val_fraction == 0:
            raise ValueError(
                f"{setting('average')} ema has no effect with {setting('val_fraction')} 0: validations say "
                "where it is better"
            )
        return self


class SampleSettings(TypedDict, total=False):
    """The settings of SampleConfig, as keywords that a type checker knows."""

    length: int
    temperature: float
    top_k: int
    top_p: float
    stop: str | tuple[str, ...] | list[str]
    forbid: str
    seed: int | None
    kernels: Literal["auto", "numpy", "numba"]


class SampleConfig(Settings):
    """Sampling."""

    length: Whole = Field(default=1000, description="characters to draw, not counting the prime text")
    temperature: float = Field(
        default=0.6, ge=0, description="below 1 is safer, above 1 wilder; 0 takes the likeliest character"
    )
    top_k: Whole = Field(default=0, description="draw from the k likeliest characters; 0 is off")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="draw from the likeliest characters that hold this mass"
    )
    stop: Texts = Field(
        default=(),
        description="end when this text has been drawn, which is no part of the sample; of several the first "
        "that comes",
    )
    forbid: str = Field(default="", description="characters that are never drawn")
    seed: Seed | None = Field(default=None, description="same seed, same text (default: another each time)")
    kernels: Literal["auto", "numpy", "numba"] = Field(
        default="auto",
        description="one text is drawn by numpy, or faster by numba, which takes a second to load; auto "
        f"takes numba from {LONG_TEXT:,} characters on, where it is installed",
    )


class DeriveConfig(Settings):
    """The example."""

    cell: CellName = Field(default="rnn", description="the recurrent layer: rnn (tanh), gru or lstm")
    time_steps: Positive = Field(default=3, description="T")
    batch_size: Positive = Field(default=2, description="rows of the batch, B")
    hidden_size: Positive = Field(default=2, description="activations in the hidden state, H")
    vocabulary_size: Positive = Field(default=3, ge=2, description="characters, V")
    seed: Seed = Field(default=0, description="of the numbers in it")

    @model_validator(mode="after")
    def _small_enough_to_build(self) -> "DeriveConfig":
        T, B, H, V = self.time_steps, self.batch_size, self.hidden_size, self.vocabulary_size
        G = CELLS[self.cell].gates
        numbers = max(B * B * max(V * V, H * H, H * (V + H)), T * B * max(V * H * V, H * H * H, H * V * H))
        numbers *= G * G  # at the most
        if numbers > 20_000_000:
            raise ValueError(
                f"the largest tensor of these sizes would hold {numbers:,} numbers, "
                f"{8 * numbers / 1e9:.1f} GB: that is why nobody builds it. Ask for smaller sizes"
            )
        return self


class GradcheckConfig(WindowConfig, ModelConfig):
    """The gradient check."""

    hidden_size: int = Field(default=8, ge=1, le=1_000_000, description="activations in the hidden state, H")
    dtype: Literal["float64"] = Field(default="float64", description="precision of the check")
    seq_length: Positive = Field(default=5, description="characters in a window, T")
    batch_size: Positive = Field(default=3, description="rows of the batch, B")
    kernels: Literal["numpy", "numba"] = Field(
        default="numpy", description="element-wise functions whose gradients are checked"
    )
    method: Literal["complex", "central"] = Field(
        default="complex", description="complex step, exact to rounding; or central differences"
    )
    quick: bool | None = Field(
        default=None,
        description="a few random projections of each gradient, whatever its size (default: where there "
        "are more than 20,000 numbers)",
    )
    per_step: bool = Field(
        default=False, description="also each step's summand against its own copy of the parameter"
    )
    recompute_every: Whole = Field(
        default=0,
        description="check the gradients that are computed in segments of K steps, as in training; 0 checks "
        "those of the whole window",
    )
    seed: Seed = Field(default=0, description="of the parameters, the state and the projections")


class BenchConfig(WindowConfig, ModelConfig):
    """The measurement."""

    threads: Threads = Field(
        default="auto", description="cores that share a batch; auto tries 1, 2, 4 … up to those there are"
    )
    seconds: float = Field(default=1.5, gt=0, description="time for each line of the table")
    seed: Seed = Field(default=0, description="of the characters trained on")
