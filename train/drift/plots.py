"""Plots of a drift check, as PNG bytes: lengths, scores, label shares, effects, accuracy."""

from typing import Any

import numpy as np

from train.drawing import new_figure, png
from train.drift.measuring import Look
from train.drift.statistics import Counts, shares

_REFERENCE, _CURRENT = "#8a8a8a", "#1f5fa8"
_LEVEL_COLOURS = {"ok": "#176b2c", "drift": "#b3761d", "retrain": "#a11"}


def plots(look: Look) -> dict[str, bytes]:
    """Return all plots by name."""
    return {"distributions": distributions(look), "effects": effects(look)}


def distributions(look: Look) -> bytes:
    """Plot reference and window next to each other: texts by tokens, by score, by predicted label."""
    profile, traffic = look.reference.profile, look.traffic
    figure, panels = new_figure(1, 3, width=12, height=3.4)
    lengths = profile.token_lengths
    ends = [f"{low:.0f}" for low in lengths.edges[:-1]]
    _bars(panels[0], ends, np.array(lengths.counts), traffic.lengths, "tokens, from")
    borders = [f"{low:g}" for low in profile.top_scores.edges[:-1]]
    used = slice(len(borders) // 2 if len(profile.labels) == 2 else 0, None)
    of_reference = np.array(profile.top_scores.counts)
    _bars(panels[1], borders[used], of_reference[used], traffic.top_scores[used], "score of the answer, from")
    predicted = np.array([round(profile.predicted_shares[name] * profile.texts) for name in traffic.labels])
    _bars(panels[2], list(traffic.labels), predicted, traffic.answers, "answer")
    panels[0].set_ylabel("share of the texts")
    panels[0].legend(fontsize=8, frameon=False)
    return png(figure)


def effects(look: Look) -> bytes:
    """Plot each effect as a multiple of its limit: a significant effect counts from 1 on."""
    findings = [*look.report.findings, *look.report.segments[:20]]
    figure, panels = new_figure(1, 1, width=8, height=0.9 + 0.26 * len(findings))
    panel = panels[0]
    panel.axvline(1, color="0.6", linewidth=1)
    for height, found in enumerate(reversed(findings)):
        multiple = max(found.effect / found.bound, 0.02) if found.bound else 0.02
        panel.barh(height, multiple, color=_LEVEL_COLOURS[found.level], height=0.6)
    names = [f"segment {found.check[:30]}" if found.kind == "segment" else found.check for found in findings]
    panel.set_yticks(range(len(findings)), names[::-1], fontsize=8)
    panel.set_xscale("symlog", linthresh=1)
    panel.set_xlabel("effect as a multiple of its bound")
    return png(figure)


def _bars(panel: Any, names: list[str], reference: Counts, current: Counts, what: str) -> None:
    places = np.arange(len(names))
    panel.bar(places - 0.2, shares(reference), width=0.4, color=_REFERENCE, label="reference")
    panel.bar(places + 0.2, shares(current), width=0.4, color=_CURRENT, label="window")
    panel.set_xticks(places, names, fontsize=7, rotation=90 if len(names) > 6 else 0)
    panel.set_xlabel(what)
