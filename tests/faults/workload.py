"""What is searched while things break: a function whose trials take a fraction of a second."""

import random
import time

from hpo import Float, Int, Space, tunable


@tunable(Space(x=Float(0.0, 1.0), y=Float(-1.0, 1.0), n=Int(1, 50)), "score")
def train(trial):
    """Three reports; how long a trial takes depends on its parameters."""
    pause = random.Random(trial.params["x"]).uniform(0.02, 0.3)
    for epoch in range(3):
        time.sleep(pause)
        trial.report(score=trial.params["x"] + trial.params["y"] * (epoch + 1))
