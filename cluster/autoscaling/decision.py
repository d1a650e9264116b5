"""Target number of pods from the needed number: tolerance, stabilisation windows, steps and bounds.

The windows are those of Kubernetes' HorizontalPodAutoscaler: scale up to the lowest recommendation of the
last `up_window_s`, scale down to the highest of the last `down_window_s`, and do nothing between the two.
Only the recommendations that can still become the lowest or the highest are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, inf

from cluster.autoscaling.config import PolicyConfig

Recommended = tuple[tuple[float, int], ...]
"""(seconds, pods), ordered by time."""


@dataclass(frozen=True, slots=True)
class ReplicaBounds:
    """Minimum and maximum number of pods."""

    least: int
    most: int

    def hold(self, pods: int) -> int:
        """Return the number clipped to the bounds."""
        return max(self.least, min(self.most, pods))


@dataclass(frozen=True, slots=True)
class PolicyState:
    """State between decisions.

    Attributes:
        lows: Recommendations that may become the lowest of a window; ascending.
        highs: Recommendations that may become the highest of a window; descending.
        changed_s: Time of the last change of the number of pods.
    """

    lows: Recommended = ()
    highs: Recommended = ()
    changed_s: float = -inf


def decide(
    needed: float, pods: int, bounds: ReplicaBounds, aims: PolicyConfig, state: PolicyState, now_s: float
) -> tuple[int, PolicyState]:
    """Compute the target number of pods.

    Args:
        needed: Number of pods that the load needs, with fractions; >= 0.
        pods: Current target.
        bounds: Minimum and maximum.
        aims: Tolerance, windows and steps.
        state: State from the previous decision; `PolicyState()` for the first, which treats `pods` as
            recommended.
        now_s: Time on a clock that all calls share.
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
    return target, PolicyState(lows, highs, now_s if target != pods else state.changed_s)


def recommend(needed: float, pods: int, tolerance: float) -> int:
    """Return the integer number of pods for a need; the current one if the need is within its tolerance."""
    up, down = ceil(needed / (1 + tolerance)), ceil(needed * (1 + tolerance))
    return max(up, min(pods, down))


def _keep(
    earlier: Recommended, wanted: int, now_s: float, window_s: float, beats: Callable[[int], bool]
) -> Recommended:
    """Return the recommendations of the window that can still be its extreme, the latest last."""
    kept = [(time_s, pods) for time_s, pods in earlier if time_s >= now_s - window_s and beats(pods)]
    return (*kept, (now_s, wanted))
