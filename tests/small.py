"""Small runs: their settings, what stops them, and what watches them."""

import json
import os
import signal

import charrnn
from charrnn.training import Progress

SETTINGS = {
    "hidden_size": 16,
    "seq_length": 16,
    "batch_size": 4,
    "epochs": 3,
    "warmup_steps": 5,
    "learning_rate": 0.01,
    "log_every": 1,
}


def train(corpus, out, *, progress=None, resume=False, **changes):
    config = charrnn.TrainConfig(**SETTINGS | changes)
    return charrnn.train(corpus, config, out, resume=resume, progress=progress)


def note_of(path):
    return json.loads(path.read_text())


class Signal(Progress):
    """Sends this process a signal after so many steps."""

    def __init__(self, step, number=signal.SIGINT, times=1):
        self.left, self.number, self.times = step, number, times

    def step(self, characters, loss):
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


class Spy(Progress):
    def __init__(self):
        self.said, self.scores, self.samples, self.bounds, self.back = [], [], [], [], []

    def start(self, characters, total):
        self.bounds.append((characters, total))

    def step(self, characters, loss):
        self.bounds[-1] = (self.bounds[-1][0] + characters, self.bounds[-1][1])

    def evaluated(self, step, epoch, loss, val_loss, best):
        self.scores.append((step, epoch, val_loss, best))

    def went_back(self, characters):
        self.back.append(characters)

    def sampled(self, text):
        self.samples.append(text)

    def say(self, text):
        self.said.append(text)
