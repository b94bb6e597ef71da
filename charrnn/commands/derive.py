"""``charrnn derive``: prove the derivation, show one window or the reach of gradients, mark exercises."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charrnn.commands.flags import Commands, add_command, add_json, add_settings, given, path
from charrnn.commands.terminal import layers_checked, say
from charrnn.config import DeriveConfig
from charrnn.display import width
from charrnn.errors import ConfigError, brief, flag
from charrnn.files import write_output

if TYPE_CHECKING:
    from charrnn.proofs.calculus import Proof


# What has a network of its own, and the settings that it takes.
LESSONS = {"page": {"seed"}, "answer": {"seed"}, "walk": set[str](), "flow": {"seed"}, "broken": set[str]()}


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn derive``."""
    parser = add_command(
        commands,
        run,
        "derive",
        usage="[OPTION ...]",
        description="Build the tensor of each derivative, contract it, and lay it beside what the layers "
        "compute: the rules of matrix calculus, then B1-B9 at each time step. Exit status 1 if one differs.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--rule",
        metavar="NAME",
        help="one rule, its numbers written out: 1, 2, 3W, 3A, 3W-rows, 3A-rows, 3W-vec, elementwise, "
        "softmax, bias, time, F1 to F4, B1 to B9",
    )
    what.add_argument(
        "--page",
        metavar="FILE.html",
        type=path,
        help="make a page on which the derivation moves: the tensor that folds into a product, a window "
        "forward and back one equation at a time, exercises that it marks. It opens in any browser, offline",
    )
    what.add_argument(
        "--answer",
        metavar="FILE.py",
        type=path,
        help="check your answers to the exercises of DERIVATION.md, functions such as def db_a(dz). The file "
        "is plain Python and is run as it is: only give it your own",
    )
    what.add_argument(
        "--walk",
        action="store_true",
        help="one window by hand, T = 2, every number of its forward and backward pass",
    )
    what.add_argument(
        "--flow", action="store_true", help="how far a gradient reaches back, by cell and by the size of W_aa"
    )
    what.add_argument(
        "--broken",
        metavar="N",
        type=planted,
        help="an error planted in one equation, by what it does to the gradients; answer with --is TAG",
    )
    parser.add_argument("--is", dest="named", metavar="TAG", help="the equation of --broken N, such as B5")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--markdown", action="store_true", help="write it as a Markdown document")
    add_json(how)
    add_settings(parser, DeriveConfig)


def run(args: argparse.Namespace) -> int:
    """Carry out the derivation. Returns: the exit code."""
    config = DeriveConfig(**given(args, DeriveConfig))
    lesson = next((name for name in LESSONS if getattr(args, name) not in (None, False)), None)
    if args.named is not None and lesson != "broken":
        raise ConfigError("--is names the equation of a planted error: say which error with --broken N")
    if lesson is not None:
        return teach(lesson, args, config.seed)
    from charrnn.proofs.board import lines, markdown
    from charrnn.proofs.cells import derive

    sizes = config.time_steps, config.batch_size, config.hidden_size, config.vocabulary_size
    proofs: list[Proof] = derive(np.random.default_rng(config.seed), *sizes, config.cell)
    if args.rule is not None:
        proofs = of_rule(proofs, args.rule)
    passed = all(proof.agrees for proof in proofs)
    if args.json:
        report = {"passed": passed, "layers": layers_checked(), "proofs": list(map(as_json, proofs))}
        print(json.dumps(report))
        return 0 if passed else 1
    if not args.markdown:
        say(f"checking the functions in {layers_checked()}")
    if args.rule is not None:
        print_boards(proofs, markdown=args.markdown)
    else:
        print("\n".join(markdown(proofs) if args.markdown else lines(proofs, width())))
    return 0 if passed else 1


def planted(word: str) -> int:
    """The type of the number of a planted error."""
    from charrnn.proofs.broken import PLANTED

    numbers = {str(number): number for number in range(1, len(PLANTED) + 1)}
    if word not in numbers:
        raise argparse.ArgumentTypeError(f"{brief(word)}: should be a whole number from 1 to {len(PLANTED)}")
    return numbers[word]


def teach(lesson: str, args: argparse.Namespace, seed: int) -> int:
    """Do what has a network of its own, a window by hand say, or exercises. Returns: the exit code."""
    from charrnn.proofs import broken, exercises, flow, walk

    if args.json or args.markdown:
        raise ConfigError(f"--{lesson} has no --json or --markdown form")
    for name in given(args, DeriveConfig).keys() - LESSONS[lesson]:
        raise ConfigError(f"{flag(name)} has no effect with --{lesson}, which has its own cell and sizes")
    if lesson == "page":
        return write_page(Path(args.page), seed)
    if lesson == "answer":
        replies = list(exercises.mark(Path(args.answer), np.random.default_rng(seed)))
    elif lesson == "broken" and args.named is not None:
        replies = [broken.judge(args.broken, args.named.upper())]
    else:
        shown = {"walk": walk.walk(), "flow": flow.flow(seed), "broken": broken.puzzle(args.broken)}
        print(*shown[lesson], sep="\n")
        return 0
    for reply in replies:
        say(f"{reply.name}: {reply.text}")
    return 0 if all(reply.right for reply in replies) else 1


def write_page(out: Path, seed: int) -> int:
    """Make the lesson. Returns: the exit code."""
    from charrnn.views.lesson import lesson_data
    from charrnn.views.page import render

    html = render(lesson_data(seed), "lesson", ("page", "lesson")).encode()
    write_output(out, html)
    say(f"{out}: {len(html) / 1000:,.0f} KB, to be opened in a browser")
    return 0


def of_rule(proofs: list["Proof"], name: str) -> list["Proof"]:
    """The proofs of a rule, whose name may be in lower case."""
    rules = {proof.rule.lower(): proof.rule for proof in proofs}
    if name.lower() not in rules:
        raise ConfigError(f"--rule {brief(name)}: is none of {', '.join(rules.values())}")
    return [proof for proof in proofs if proof.rule == rules[name.lower()]]


def as_json(proof: "Proof") -> dict[str, object]:
    """What --json says of a proof."""
    return {
        "rule": proof.rule,
        "step": proof.step,
        "derivative": proof.title,
        "equation": proof.equation,
        "tensor": None if proof.J is None else {"shape": proof.J.shape, "bytes": proof.J.nbytes},
        "trick": {"shape": proof.trick.shape, "bytes": proof.trick.nbytes},
        "difference": proof.difference,
        "agrees": proof.agrees,
    }


def print_boards(proofs: list["Proof"], *, markdown: bool) -> None:
    """Print the proofs of one rule with their numbers; of many steps, the first."""
    from charrnn.proofs.board import board

    written = [proof for proof in proofs if proof.step == 1] or proofs
    text = "\n\n".join("\n".join(board(proof)) for proof in written)
    print(f"```\n{text}\n```" if markdown else text)
    if len(proofs) > len(written):
        verdict = "all agree" if all(proof.agrees for proof in proofs) else "NOT all agree"
        print(f"\nOf the {len(proofs)} such derivatives of the window, {verdict}.")
