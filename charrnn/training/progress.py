"""Progress: what is told of a run while it trains."""

OFTEN = 0.5  # seconds between two lines or two saves: what comes sooner matters to nobody


class Progress:
    """What is told of a run while it trains. This one shows nothing; a subclass has the methods it needs."""

    def start(self, characters: int, total: int) -> None:
        """Training begins, or continues: so many characters of the total have been trained on."""

    def moved(self, total: int) -> None:
        """The end has moved: so many characters will have been trained on by then."""

    def compiling(self, begun: bool) -> None:
        """Functions are compiled before the first step: it begins, or has ended."""

    def step(self, characters: int, loss: float) -> None:
        """A step is done, over so many characters, with its loss in nats."""

    def evaluated(self, step: int, epoch: float, loss: float, val_loss: float, best: bool) -> None:
        """The validation part has been scored; ``loss`` is the mean in training since the last time."""

    def went_back(self, characters: int) -> None:
        """The run has diverged and continues from where so many characters had been trained on."""

    def sampled(self, text: str) -> None:
        """A short sample was drawn from the model as it stands."""

    def say(self, text: str) -> None:
        """Something worth knowing happened."""

    def stop(self) -> None:
        """Training ends, for whatever reason."""
