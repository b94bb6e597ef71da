"""``charrnn export``: write a network for other programs."""

import argparse
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from charrnn.commands.flags import Commands, SavedConfig, add_command, add_run, add_settings, given, path
from charrnn.commands.terminal import say, warn
from charrnn.commands.texts import parts_of_run
from charrnn.errors import RunError
from charrnn.measures.evaluation import evaluate
from charrnn.model import CharRNN
from charrnn.runs import find_save, load
from charrnn.text.corpus import Parts


class ExportSettings(SavedConfig):
    """The file."""

    to: Literal["safetensors", "onnx", "torch", "json"] | None = Field(
        default=None, description="the format (default: by the suffix of FILE; of torch it is .pt)"
    )


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn export``."""
    parser = add_command(
        commands,
        run,
        "export",
        usage="[OPTION ...] RUN FILE",
        description="Write the network of a run for other programs: safetensors and torch under PyTorch's "
        "names; onnx to be run; json to be read.",
    )
    add_run(parser)
    parser.add_argument("file", metavar="FILE", type=path, help="the file; one that is there is replaced")
    parser.add_argument(
        "--module",
        action="store_true",
        help="with safetensors: write FILE.py beside it, a module of PyTorch that loads it, reads text and "
        "writes text",
    )
    parser.add_argument(
        "--quantize",
        choices=["int8"],
        help="with onnx: write the matrices in 8 bits, and say what that costs on the validation part",
    )
    add_settings(parser, ExportSettings)


def run(args: argparse.Namespace) -> int:
    """Write a file. Returns: the exit code."""
    from charrnn.exchange import export_run, quantized
    from charrnn.exchange.runs import format_of

    config = ExportSettings(**given(args, ExportSettings))
    int8, about = args.quantize == "int8", {}
    to = format_of(Path(args.file), config.to, int8=int8, module=args.module)
    save = find_save(args.run, config.which)
    model = load(save)
    if to == "torch":
        warn("a state dict holds no vocabulary and no figures; a safetensors file does")
    else:
        parts = text_to_score(save.parent, model)
        if len(parts.test) > 1:
            about["test_loss"] = evaluate(model, parts.test).loss
    export_run(save, args.file, to, int8=int8, module=args.module, about=about)
    say(args.file)
    if int8 and len(parts.val) > 1:
        before, after = (evaluate(network, parts.val).loss for network in (model, quantized(model)))
        say(f"int8: {after:.4f} nats per character on the validation part, {before:.4f} before")
    return 0


def text_to_score(folder: Path, model: CharRNN) -> Parts:
    """The parts of the run's own text; where that is not found, a note says so, and they are empty."""
    try:
        return parts_of_run(folder, model, "Name it: ")
    except RunError:
        warn("the text of the run is not found, so no test loss is written")
        nothing = np.empty(0, model.vocabulary.dtype)
        return Parts(nothing, nothing, nothing)
