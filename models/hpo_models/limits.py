"""Hard limits of the zoo's parameters: what `--set` may widen a declared range to.

Beyond these a network cannot be built or trained; whether it is any good there is the search's to
find out.
"""

from __future__ import annotations

RATE = (1e-8, 10.0)
"""Learning rates."""
DECAY = (0.0, 10.0)
"""Weight decay, and a backbone's share of the learning rate."""
MOMENTUM = (0.0, 0.999)
SHARE = (0.0, 0.95)
"""Of what is dropped, hidden or smoothed: all of it leaves nothing to learn from."""
STRENGTH = (0.0, 0.9)
"""Of augmentation: at 1 an image may shrink to nothing."""
WHOLE = (0.0, 1.0)
WEIGHT = (0.0, 1e4)
"""Of a term of the loss."""
POSITIVE = (1e-6, 1e6)
"""What is divided by, or compared to a norm."""
BATCH = (2, 65536)
WIDTH = (1, 4096)
LAYERS = (1, 12)
BLOCKS = (0, 16)
