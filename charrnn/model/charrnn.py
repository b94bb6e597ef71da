"""CharRNN: a network with a vocabulary."""

import codecs
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, AnyStr, Self, Unpack, overload

import numpy as np
from numpy.typing import DTypeLike

from charrnn.config import ModelConfig, SampleConfig, SampleSettings
from charrnn.errors import CharRNNError, ConfigError, RunError, TextError, brief, check_type, setting
from charrnn.layers import Array
from charrnn.model import segments
from charrnn.model.initial import draw_weights
from charrnn.model.kernels import choose_for_text
from charrnn.model.network import Network, shapes
from charrnn.model.parameters import Parameters
from charrnn.model.sampling import AHEAD, Sample, generate, generators, in_pieces, nats_of, stop_of, until
from charrnn.notebook import panel, table
from charrnn.npz import text_in, write_arrays
from charrnn.text.vocabulary import Tokens, Vocabulary

LARGEST_WEIGHT = 1e15  # a sum of products of two such is finite in single precision, and so is any loss


class CharRNN(Network):
    """A network that reads and writes text.

    Attributes:
        vocabulary: the V characters it knows.

    and those of ``Network``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        hidden_size: int = 128,
        *,
        seed: int | np.random.Generator | None = 0,
        dtype: DTypeLike = np.float32,
        **form: Any,
    ):
        """A new network; one of zeros if ``seed`` is None.

        Arguments:
            form: further settings of ``charrnn.config.ModelConfig``: cell (rnn, gru or lstm), num_layers,
                embedding_size, init, init_scale, input_scale.

        Raises:
            ConfigError: a setting has a value that it cannot have.
            ArgumentError: an argument is of another type.
        """
        check_type("vocabulary", vocabulary, Vocabulary, "a charrnn.Vocabulary, such as corpus.vocabulary")
        form |= {"hidden_size": hidden_size, "dtype": np.dtype(dtype).name}
        self._begin(vocabulary, ModelConfig(**form), seed)

    @classmethod
    def from_config(
        cls, vocabulary: Vocabulary, config: ModelConfig, seed: int | np.random.Generator | None
    ) -> Self:
        """The network that ``config`` describes; one of zeros if ``seed`` is None."""
        model = cls.__new__(cls)
        model._begin(vocabulary, config, seed)
        return model

    def _begin(
        self, vocabulary: Vocabulary, config: ModelConfig, seed: int | np.random.Generator | None
    ) -> None:
        super().__init__(config, len(vocabulary))
        self.vocabulary = vocabulary
        if seed is not None:
            try:
                rng = np.random.default_rng(seed)
            except (TypeError, ValueError):
                raise ConfigError(f"seed {brief(repr(seed))}: should be a whole number from 0") from None
            draw_weights(self, rng)

    def __repr__(self) -> str:
        said = self.config.model_dump(include={"cell", "num_layers", "embedding_size"}, exclude_defaults=True)
        form = "".join(f", {name}={value!r}" for name, value in said.items())
        return f"CharRNN({self.V} characters, hidden_size={self.config.hidden_size}{form})"

    def _repr_html_(self) -> str:
        """The parameters in a table, for a notebook."""
        rows = [
            (name, " × ".join(map(str, array.shape)), f"{array.size:,}", f"{np.sqrt(np.mean(array**2)):.3f}")
            for name, array in self.parameters.items()
        ]
        rows.append(("all", "", f"{self.parameters.flat.size:,}", ""))
        return panel(repr(self), table(rows, ("parameter", "shape", "numbers", "root mean square")))

    def loss_and_gradients(
        self,
        inputs: Array,
        targets: Array,
        state: Array | None = None,
        *,
        draw_masks: Callable[[slice], Array] | None = None,
        recompute_every: int = 0,
        rho: Array | None = None,
    ) -> tuple[float, Parameters, Array]:
        """The loss of a window, the gradient of every parameter, and the state after it.

        Arguments:
            inputs, targets: (T, B) integers in 0…V−1; the target is the character after the input.
            state: (B, S), the state that the window before returned; zeros if not given.
            draw_masks: draws the ``dropout_masks`` of some of the steps; nothing is dropped if not given.
            recompute_every: K, to keep the state of every K-th step only and compute the others again on the
                way back; 0 keeps all.
            rho: (T, B) booleans, False where a row begins a document: its state is zero before that step.

        Returns: the loss (mean over T·B characters, in nats), the gradients by name, and the state
        after the window (B, S).

        Raises:
            ValueError: the shapes do not fit each other, or an integer is no character.
        """
        x, y = self._characters(inputs, "inputs"), self._characters(targets, "targets")
        if x.shape != y.shape:
            raise ValueError(f"inputs {x.shape} and targets {y.shape} differ in shape")
        if rho is not None and (rho.shape != x.shape or rho.dtype != bool):
            raise ValueError(f"rho: {rho.dtype} {rho.shape}; expected booleans {x.shape}")
        state = self.initial_state(y.shape[1]) if state is None else state
        if state.shape != (y.shape[1], self.state_size):
            raise ValueError(f"a state of shape {state.shape}; expected {(y.shape[1], self.state_size)}")
        g = self.parameters.like()
        loss, after = segments.loss_and_gradients(
            self, x, y, state, g, draw_masks=draw_masks, recompute_every=recompute_every, rho=rho
        )
        return loss, g, after

    def _characters(self, tokens: Array, what: str) -> Array:
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.size == 0:
            raise ValueError(f"{what}: {tokens.dtype} {tokens.shape}; expected integers (T, B)")
        if tokens.min() < 0 or tokens.max() >= self.V:
            raise ValueError(f"{what}: characters are 0 to {self.V - 1}; found {tokens.max()}")
        return tokens.astype(np.intp, copy=False)

    # -- files --------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the model to one file, whole or not at all, which ``charrnn.load`` reads.

        Arguments:
            path: of the file, which ends in .npz; one that is there is replaced.

        Raises:
            ConfigError: the name does not end in .npz.
            RunError: it cannot be written.
        """
        check_type("path", path, str | Path, "the name of a file")
        if Path(path).suffix != ".npz":
            raise ConfigError(f"path {brief(repr(str(path)))}: expected a name that ends in .npz")
        write_arrays(Path(path), self.arrays())

    def arrays(self) -> dict[str, Array]:
        """What a file holds: the parameters by name, the vocabulary's symbols, and the name of the cell."""
        return {**self.parameters, "vocabulary": self.vocabulary.symbols, "cell": np.array(self.config.cell)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], where: Path) -> Self:
        """The model in such arrays; half precision becomes single. ``where`` is their file in errors.

        Raises:
            RunError: an array is missing, or its shape or dtype does not fit the others.
        """
        try:
            vocabulary = Vocabulary(arrays["vocabulary"])
            cell, W_aa = text_in(arrays, "cell", 20) if "cell" in arrays else "rnn", arrays["W_aa"]
            if W_aa.dtype not in (np.float16, np.float32, np.float64):
                raise RunError(f"W_aa is of dtype {W_aa.dtype}")
            if W_aa.ndim != 2:
                raise RunError(f"W_aa is {W_aa.dtype} {W_aa.shape}, expected two axes")
            form: dict[str, Any] = {
                "cell": cell,
                "hidden_size": len(W_aa),
                "dtype": np.promote_types(W_aa.dtype, np.float32).name,
                "num_layers": 1 + sum(name.startswith("W_aa[") for name in arrays),
                "embedding_size": max(1, arrays["W_ex"].size // len(vocabulary)) if "W_ex" in arrays else 0,
            }
            config = ModelConfig(**form)
            for name, shape in shapes(config, len(vocabulary)).items():  # before memory is taken
                if arrays[name].shape != shape:
                    raise RunError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, expected {shape}")
            model = cls.from_config(vocabulary, config, seed=None)
            for name, view in model.parameters.items():
                if arrays[name].dtype != W_aa.dtype:
                    raise RunError(f"{name} is of dtype {arrays[name].dtype}, expected {W_aa.dtype}")
                view[...] = arrays[name]
                if not (np.abs(view) <= LARGEST_WEIGHT).all():
                    raise RunError(f"{name} has entries that are not finite, or beyond ±{LARGEST_WEIGHT:g}")
        except KeyError as error:
            raise RunError(f"{where}: not a model: it lacks {error}") from None
        except (CharRNNError, TypeError) as error:
            raise RunError(f"{where}: not a model: {error}") from None
        return model

    # -- sampling -----------------------------------------------------------------------------------

    @overload
    def sample(
        self, prime: AnyStr, *, ignore_unknown: bool = False, **settings: Unpack[SampleSettings]
    ) -> AnyStr: ...

    @overload
    def sample(
        self, prime: None = None, *, ignore_unknown: bool = False, **settings: Unpack[SampleSettings]
    ) -> Any: ...

    def sample(
        self, prime: str | bytes | None = None, *, ignore_unknown: bool = False, **settings: Any
    ) -> str | bytes:
        """``stream`` in one piece."""
        pieces: Any = self.stream(prime, ignore_unknown=ignore_unknown, **settings)
        return b"".join(pieces) if self._gives_bytes(prime) else "".join(pieces)

    @overload
    def stream(
        self, prime: AnyStr, *, ignore_unknown: bool = False, **settings: Unpack[SampleSettings]
    ) -> Iterator[AnyStr]: ...

    @overload
    def stream(
        self, prime: None = None, *, ignore_unknown: bool = False, **settings: Unpack[SampleSettings]
    ) -> Iterator[Any]: ...

    def stream(
        self, prime: str | bytes | None = None, *, ignore_unknown: bool = False, **settings: Any
    ) -> Iterator[Any]:
        """Draw text piece by piece: first ``prime``, then character by character what follows it.

        The pieces are of the type of ``prime``, str or bytes; without one they are bytes if the vocabulary is
        of bytes. Bytes that are no UTF-8 become U+FFFD in a str; a str becomes UTF-8 in bytes.

        Arguments:
            prime: the text to continue.
            ignore_unknown: drop characters of ``prime`` that the model does not know.
            settings: those of ``charrnn.SampleConfig``: length, temperature, top_k, top_p, stop, forbid,
                seed, kernels. With numba the text comes 64 characters at a time.

        Raises:
            TextError: ``prime`` or ``stop`` has characters that the model does not know.
            ConfigError: a setting has a value that it cannot have.
            ArgumentError: ``prime`` is no text.
        """
        check_type("prime", prime, str | bytes | None, "a text (str) or bytes")
        values: dict[str, Any] = {**settings}
        config = SampleConfig(**values)
        start = self.vocabulary.encode(prime or "", ignore_unknown=ignore_unknown)
        drawn: Iterator[Tokens | list[int]] = chain([start], self.draw(start, config))
        pieces = map(self.vocabulary.decode_bytes, drawn)
        return pieces if self._gives_bytes(prime) else codecs.iterdecode(pieces, "utf-8", "replace")

    def _gives_bytes(self, prime: str | bytes | None) -> bool:
        return self.vocabulary.is_bytes if prime is None else isinstance(prime, bytes)

    def draw(self, prime: Tokens, config: SampleConfig) -> Generator[list[int], None, list[int]]:
        """Draw ``config.length`` characters after ``prime`` (n,), fewer if a text of ``config.stop`` comes.

        Without a prime, a text begins as a line does: after a newline, if the model knows one;
        else with a character drawn evenly.

        Yields: the next characters: one, or of those that numba draws up to 64.

        Returns: at the end of the generator, the stop that came; empty if none did.

        Raises:
            ConfigError: numba is asked for and cannot be imported.
        """
        forbidden, stops = self._forbidden(config), self._stops(config)
        start, rng = self._start(prime), next(generators(config.seed))
        if choose_for_text(config) == "numba":
            from charrnn.model import compiled

            tokens, size = compiled.generate(self, start, config, rng, forbidden), AHEAD
        else:
            drawn = generate(self, start, config, [rng], forbidden)
            tokens, size = (int(token) for token, _ in drawn), 1
        return in_pieces(until(islice(tokens, config.length), stops), size)

    def draw_many(
        self,
        prime: Tokens,
        config: SampleConfig,
        rngs: Sequence[np.random.Generator],
        *,
        score: bool = False,
    ) -> list[Sample]:
        """Draw several texts at once, which is much faster than one by one; each as ``draw`` does with NumPy.

        Arguments:
            rngs: a generator for each text, such as those of ``sampling.generators``.
            score: also say what their characters cost, for a quarter more time.
        """
        forbidden, stops = self._forbidden(config), self._stops(config)
        texts: list[list[int]] = [[] for _ in rngs]
        costs = list[Array]()  # of each step, (N,)
        running = list(range(len(texts)))
        drawn = generate(self, self._start(prime), config, rngs, forbidden)
        for tokens, logits in islice(drawn, config.length):
            characters = np.atleast_1d(tokens).tolist()
            for i in running:
                texts[i].append(characters[i])
            if score:
                costs.append(np.atleast_1d(nats_of(logits, tokens)))
            if stops:
                running = [i for i in running if not stop_of(texts[i], stops)]
                if not running:
                    break
        samples = list[Sample]()
        for i, text in enumerate(texts):
            stop = stop_of(text, stops)
            length = len(text) - len(stop)
            nats = sum((float(cost[i]) for cost in costs[:length]), 0.0) if score else None
            samples.append(Sample(text[:length], stop, nats))
        return samples

    def sample_documents(self, separator: str, length: int, rngs: Sequence[np.random.Generator]) -> str:
        """Several documents, each drawn from its beginning to the separator; their first characters.

        Arguments:
            separator: what ends each document that the model has learned from.
            length: how many characters.
            rngs: a generator for each document.
        """
        before = self.vocabulary.encode(separator)[-1:]
        drawn = self.draw_many(before, SampleConfig(length=length, stop=(separator,)), rngs)
        return "".join(self.vocabulary.decode(sample.tokens + sample.stop) for sample in drawn)[:length]

    def _start(self, prime: Tokens) -> Tokens:
        return prime if len(prime) else self.vocabulary.encode("\n", ignore_unknown=True)

    def _forbidden(self, config: SampleConfig) -> list[int]:
        tokens: list[int] = np.unique(self.vocabulary.encode(config.forbid, ignore_unknown=True)).tolist()
        if len(tokens) == self.V:
            raise ConfigError(f"{setting('forbid')} leaves none of the {self.V} characters to draw")
        return tokens

    def _stops(self, config: SampleConfig) -> list[list[int]]:
        """The texts that end a drawn one, the longest first: of two that end together it is the whole one."""
        forbidden = self._forbidden(config)
        stops = []
        for stop in filter(None, config.stop):
            named = f"{setting('stop')} {brief(repr(stop))} has characters"
            try:
                stops.append(self.vocabulary.encode(stop).tolist())
            except TextError:
                raise TextError(f"{named} that the model does not know: it would never stop") from None
            if not set(forbidden).isdisjoint(stops[-1]):
                raise ConfigError(f"{named} that {setting('forbid')} forbids: it would never stop")
        return sorted(stops, key=len, reverse=True)
