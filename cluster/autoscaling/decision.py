"""From what is needed to how many pods there are to be: tolerance, windows, steps, bounds. Time is given.

The windows are those of Kubernetes' HorizontalPodAutoscaler: up to the lowest recommendation of the last
`up_window_s`, down to the highest of the last `down_window_s`, and neither in between. Of the recommendations
only those are kept that can still be the lowest or the highest, never more than there are numbers of pods.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, inf

from cluster.autoscaling.aims import Aims

Recommended = tuple[tuple[float, int], ...]
"""(seconds, pods), in the order of time."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The fewest and the most pods."""

    least: int
    most: int

    def hold(self, pods: int) -> int:
        """The nearest number within."""
        return max(self.least, min(self.most, pods))


@dataclass(frozen=True, slots=True)
class State:
    """What one decision leaves to the next.

    Attributes:
        lows: recommendations that may be the lowest of a window to come; rising.
        highs: those that may be the highest; falling.
        changed_s: when the number of pods was last changed.
    """

    lows: Recommended = ()
    highs: Recommended = ()
    changed_s: float = -inf


def decide(
    needed: float, pods: int, bounds: Bounds, aims: Aims, state: State, now_s: float
) -> tuple[int, State]:
    """How many pods there shall be.

    Args:
        needed: by the load, in pods and parts of them; 0 or more.
        pods: that there shall be as of now.
        bounds: the fewest and the most.
        aims: tolerance, windows and steps.
        state: from the decision before; `State()` at first, when the present number counts as recommended.
        now_s: on a clock that all calls share.
    """
    wanted = bounds.hold(recommend(needed, pods, aims.tolerance))
    first = () if state.lows else ((now_s, pods),)
    lows = _keep((*first, *state.lows), wanted, now_s, aims.up_window_s, lambda kept: kept < wanted)
    highs = _keep((*first, *state.highs), wanted, now_s, aims.down_window_s, lambda kept: kept > wanted)
    target = pods
    if now_s - state.changed_s >= aims.step_s:
        if pods < lows[0][1]:
            target = min(lows[0][1], pods + max(1, floor(aims.up_step_fraction * pods)))
        elif pods > highs[0][1]:
            target = max(highs[0][1], pods - max(1, floor(aims.down_step_fraction * pods)))
    target = bounds.hold(target)
    return target, State(lows, highs, now_s if target != pods else state.changed_s)


def recommend(needed: float, pods: int, tolerance: float) -> int:
    """The whole number of pods for a need; the present one while the need is within the tolerance of it."""
    up, down = ceil(needed / (1 + tolerance)), ceil(needed * (1 + tolerance))
    return max(up, min(pods, down))


def _keep(
    earlier: Recommended, wanted: int, now_s: float, window_s: float, beats: Callable[[int], bool]
) -> Recommended:
    """The recommendations of the window that later ones do not beat, the latest last."""
    kept = [(time_s, pods) for time_s, pods in earlier if time_s >= now_s - window_s and beats(pods)]
    return (*kept, (now_s, wanted))
