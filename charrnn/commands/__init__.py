"""The command line: a file a command."""

# Of each command its file here, which is imported when it is asked for, and what it does.
COMMANDS = {
    "train": ("train", "train on a text and keep the run in a folder"),
    "sample": ("sample", "write text with a trained network"),
    "eval": ("evaluate", "score a text with a trained network"),
    "gradcheck": ("gradcheck", "check every derivative"),
    "derive": ("derive", "prove the derivation: the 4-D tensors beside what the layers compute"),
    "bench": ("bench", "measure how fast this machine trains, and recommend --threads and --batch-size"),
    "plot": ("plot", "draw runs (needs matplotlib)"),
    "runs": ("runs", "list the runs in a folder"),
    "page": ("page", "make a page that shows what networks have learned"),
    "look": ("look", "show in the terminal what a network makes of a text"),
    "export": ("export", "write a network for other programs"),
    "import": ("import_", "make a run of the network in a safetensors file"),
    "completion": ("completion", "print a script of completions for a shell (needs shtab)"),
}
