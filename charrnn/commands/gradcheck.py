"""``charrnn gradcheck``: check every derivative."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from charrnn.blas import one_blas_thread
from charrnn.commands.flags import Commands, add_command, add_corpus, add_json, add_settings, given, part_of
from charrnn.commands.terminal import described, layers_checked, say, wrapped
from charrnn.commands.texts import read_corpus
from charrnn.config import GradcheckConfig, TextConfig
from charrnn.text.corpus import Corpus
from charrnn.text.streams import Streams

if TYPE_CHECKING:
    from charrnn.proofs.gradcheck import Check

MANY = 20_000  # derivatives: more take too long to check one by one unasked


class GradcheckSettings(GradcheckConfig, TextConfig):
    """The settings of ``charrnn gradcheck``."""


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn gradcheck``."""
    parser = add_command(
        commands,
        run,
        "gradcheck",
        usage="[OPTION ...] [CORPUS ...]",
        description="Compare the gradient of each parameter, of the inputs and of the incoming state "
        "with derivatives by the complex step or by central differences. Exit status 1 if one is wrong.",
    )
    add_corpus(parser)
    add_json(parser)
    add_settings(parser, GradcheckSettings, without=["dtype"])  # there is no choice


def run(args: argparse.Namespace) -> int:
    """Check the gradients of a network of the flags' sizes. Returns: the exit code."""
    settings = GradcheckSettings(**given(args, GradcheckSettings)).model_dump()
    config = GradcheckConfig(**part_of(settings, GradcheckConfig))
    return check(read_corpus(args.corpus, part_of(settings, TextConfig)), config, args.json)


def check(corpus: Corpus, config: GradcheckConfig, as_json: bool = False) -> int:
    """Check the gradients of the network that ``config`` describes, on the first window of a text."""
    from charrnn.model.kernels import choose_kernels
    from charrnn.proofs.gradcheck import TOLERANCE, GradientCheck, generic_model

    choose_kernels(config)
    model = generic_model(corpus.vocabulary, config, config.seed)
    model.kernels = config.kernels
    streams, T = Streams(corpus.tokens, config.batch_size, config.seq_length), config.seq_length
    inputs, targets = (rows[:, :T].T.astype(np.intp) for rows in (streams.inputs, streams.targets))
    if inputs.shape[1] < config.batch_size and not as_json:
        print(f"the text fills only {inputs.shape[1]} rows: --batch-size {config.batch_size} shrunk to that")
    rng = np.random.default_rng([config.seed, 1])
    with one_blas_thread(), tqdm(disable=None, leave=False, unit="derivative") as bar:
        how = config.method, bar.update, config.dropout, config.recompute_every
        window = GradientCheck(model, inputs, targets, rng, *how)
        quick = config.quick
        if quick is None:
            quick = window.derivatives(quick=False, per_step=False) > MANY
        bar.total = window.derivatives(quick=quick, per_step=config.per_step)
        checks = list(window.quick() if quick else window.every_entry())
        checks += window.per_step() if config.per_step else ()
        checks += window.properties(quick=quick)
    passed = all(check.passed for check in checks)
    sizes = {"T": window.T, "B": window.B, "H": model.config.hidden_size, "V": len(corpus.vocabulary)}
    if as_json:
        report = {
            "passed": passed,
            "method": config.method,
            "kernels": config.kernels,
            "tolerance": window.tolerance,
            "sizes": sizes,
            "network": config.model_dump(include={"cell", "num_layers", "embedding_size", "dropout"}),
            "layers": layers_checked(),
            "checks": [asdict(check) for check in checks],
        }
        print(json.dumps(report))
        return 0 if passed else 1
    say(f"checking the functions in {layers_checked()}")
    dtype = "float64" if config.method == "central" else "complex128"
    beside = f"; the gradients by {config.kernels} in float64" if config.kernels == "numba" else ""
    print(wrapped(f"{described(config, sizes)}, loss {float(window.loss):.4f} nats, {dtype}{beside}"))
    print_table(checks)
    standard = {"complex": "the complex step", "central": "central differences"}[config.method]
    K = window.recompute_every
    by = f"; gradients in segments of {K} steps" if K else ""
    by += "; gradients along random directions (--no-quick: each entry)" if quick else ""
    if window.tolerance > TOLERANCE[config.method]:
        by += "; less than usual, for this network magnifies rounding"
    print(wrapped(f"{'All' if passed else 'NOT all'} agree with {standard} to {window.tolerance:.0e}{by}"))
    return 0 if passed else 1


def print_table(checks: list["Check"]) -> None:
    """Print a line for each check, 80 columns wide."""
    print(f"{'gradient':12}{'equation':9} {'shape':13} {'norm':>8}  {'largest error':>13}  at")
    for check in checks:
        name = check.name if check.norm is None else f"d{check.name}"
        norm = "" if check.norm is None else f"{check.norm:.2e}"
        where = "" if check.where is None else str(check.where)
        print(
            f"{name:12}{check.equation:9} {check.shape!s:13} {norm:>8}  {check.error:13.1e}  "
            f"{where:13} {'ok' if check.passed else 'WRONG'}"
        )
