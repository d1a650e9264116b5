"""Tests of the cost calculation against figures calculated by hand."""

import itertools
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.__main__ import main
from cluster.cost.arithmetic import Rate, cost
from cluster.cost.cpu_nodes import MeasuredPod, cheapest_cpu_node, verdict
from cluster.cost.measured import measured_rate
from cluster.cost.plan import cheapest, configured, pods_for
from cluster.cost.prices import read_books
from cluster.errors import CostInputError
from cluster.kuberay.settings import read_environment
from cluster.nodes import INSTANCE_TYPES
from loadtest.config import LoadTestConfig
from loadtest.report import document
from loadtest.results import Observations
from loadtest.schedule import ArrivalRate
from loadtest.slo import SLO, evaluate_slo

BOOKS = read_books()
DOCUMENT, LIST = BOOKS["document"], BOOKS["list"]
SLOW = Rate(Decimal(480), Decimal(2500), "the document")
FAST = Rate(Decimal(600), Decimal(2500), "the document")


@pytest.mark.parametrize(("rate", "per_minute"), [(SLOW, 1920), (FAST, 2400)])
def test_the_documents_large_node(rate: Rate, per_minute: int) -> None:
    node = cost("document", DOCUMENT, {"g5.12xlarge": 1}, rate)
    assert node.pods == 4
    assert node.month == 3280
    assert node.requests_per_minute == per_minute
    assert node.tokens_per_s == 10_000
    assert f"{node.per_million_tokens:.4f}" == "0.1264"


def test_the_documents_small_node() -> None:
    node = cost("document", DOCUMENT, {"g5.4xlarge": 1}, SLOW)
    assert (node.pods, node.month) == (1, 820)
    assert f"{node.per_million_tokens:.4f}" == "0.1264"


@pytest.mark.parametrize(
    ("hours", "figure"), [(720, "0.1265"), (721, "0.1264"), (722, "0.1262"), (730, "0.1248"), (744, "0.1225")]
)
def test_only_a_month_of_721_hours_gives_the_documents_figure(hours: int, figure: str) -> None:
    book = DOCUMENT.model_copy(update={"month_hours": hours})
    assert f"{cost('', book, {'g5.12xlarge': 1}, SLOW).per_million_tokens:.4f}" == figure


def test_list_prices_by_hand() -> None:
    # 5.672 * 730 = 4,140.56; 5.672 / 36 (million tokens per hour at 10,000/s) = 0.15756; 1.624 / 9 = 0.18044
    large = cost("list", LIST, {"g5.12xlarge": 1}, SLOW)
    assert large.month == Decimal("4140.56")
    assert f"{large.per_million_tokens:.5f}" == "0.15756"
    # 1,920 per minute are 115,200 per hour: 5.672 / 0.1152 = 49.236
    assert f"{large.per_million_requests:.3f}" == "49.236"
    small = cost("list", LIST, {"g5.4xlarge": 1}, SLOW)
    assert small.month == Decimal("1185.52")
    assert f"{small.per_million_tokens:.5f}" == "0.18044"
    both = cost("list", LIST, {"g5.12xlarge": 2, "g5.4xlarge": 1}, SLOW)
    assert (both.pods, both.month) == (9, Decimal("9466.64"))


def test_every_price_is_dated_and_sourced() -> None:
    for book in BOOKS.values():
        assert book.dated and book.source and book.types


@pytest.mark.parametrize(("wanted", "pods"), [("1", 1), ("480", 1), ("480.1", 2), ("5000", 11), ("5280", 11)])
def test_pods_for_a_rate(wanted: str, pods: int) -> None:
    assert pods_for(Decimal(wanted), SLOW) == pods


@pytest.mark.parametrize("wanted", ["0", "-1", "1e9"])
def test_a_rate_that_makes_no_sense_is_refused(wanted: str) -> None:
    with pytest.raises(CostInputError):
        pods_for(Decimal(wanted), SLOW)


def price(mix: dict[str, int]) -> Decimal:
    return sum((LIST.month(kind) * count for kind, count in mix.items()), Decimal(0))


def by_trying_all(types: list[str], pods: int, *, survive_node: bool) -> Decimal:
    """Return the lowest price of all possible mixes."""
    found = []
    for counts in itertools.product(*(range(pods + 5) for _ in types)):
        mix = {kind: count for kind, count in zip(types, counts, strict=True) if count}
        held = [INSTANCE_TYPES[kind].gpus for kind in mix]
        left = sum(INSTANCE_TYPES[kind].gpus * count for kind, count in mix.items())
        if left - (max(held, default=0) if survive_node else 0) >= pods:
            found.append(price(mix))
    return min(found)


@given(
    pods=st.integers(1, 9),
    types=st.lists(st.sampled_from(LIST.types), min_size=1, max_size=2, unique=True),
    survive_node=st.booleans(),
)
def test_no_mix_is_cheaper(pods: int, types: list[str], survive_node: bool) -> None:
    mix = dict(cheapest(LIST, types, pods, survive_node=survive_node))
    assert price(mix) == by_trying_all(types, pods, survive_node=survive_node)


@pytest.mark.parametrize(
    ("pods", "mix"),
    [
        (1, {"g5.4xlarge": 1}),
        (3, {"g5.4xlarge": 3}),  # 4.872 per hour, less than one large node
        (4, {"g5.12xlarge": 1}),  # 5.672 compared with 6.496
        (5, {"g5.12xlarge": 1, "g5.4xlarge": 1}),
        (7, {"g5.12xlarge": 1, "g5.4xlarge": 3}),
        (11, {"g5.12xlarge": 2, "g5.4xlarge": 3}),
    ],
)
def test_the_cheapest_mix_by_hand(pods: int, mix: dict[str, int]) -> None:
    assert cheapest(LIST, ["g5.12xlarge", "g5.4xlarge"], pods) == mix


def test_spare_pods_and_a_lost_node() -> None:
    types = ["g5.12xlarge", "g5.4xlarge"]
    assert cheapest(LIST, types, 4, spare_pods=1) == {"g5.12xlarge": 1, "g5.4xlarge": 1}
    # Two large nodes lose one and keep 4 of 8 pods, at 11.344 per hour; five small nodes keep 4, at 8.120.
    assert cheapest(LIST, types, 4, survive_node=True) == {"g5.4xlarge": 5}


def test_equal_prices_take_fewer_nodes() -> None:
    # In the document, four small nodes cost as much as one large node.
    assert cheapest(DOCUMENT, ["g5.4xlarge", "g5.12xlarge"], 4) == {"g5.12xlarge": 1}


def test_a_type_without_a_price_is_named() -> None:
    with pytest.raises(CostInputError, match=r"no price for 'g5\.2xlarge'"):
        cheapest(LIST, ["g5.2xlarge"], 1)


@pytest.mark.parametrize(
    ("changes", "pods", "options", "mix"),
    [
        ([], 1, {}, {"g5.4xlarge": 2}),  # min_pods of the floor
        ([], 16, {}, {"g5.4xlarge": 16}),
        ([], 20, {}, {"g5.12xlarge": 1, "g5.4xlarge": 18}),
        ([], 4, {"spare_pods": 1}, {"g5.4xlarge": 5}),
        ([], 4, {"survive_node": True}, {"g5.4xlarge": 5}),
        (["workers.2.priority=15"], 7, {}, {"g5.12xlarge": 2, "g5.4xlarge": 2}),
        # 4 pods that remain when a node with four is lost
        (["workers.2.priority=15"], 4, {"survive_node": True}, {"g5.12xlarge": 2, "g5.4xlarge": 2}),
    ],
)
def test_the_nodes_that_an_environment_starts(
    changes: list[str], pods: int, options: dict[str, bool], mix: dict[str, int]
) -> None:
    assert configured(read_environment("prod", changes), LIST, pods, **options) == mix


def test_more_pods_than_the_groups_have_are_refused() -> None:
    with pytest.raises(
        CostInputError, match="35 pods are needed, and the groups of the environment have at most 34"
    ):
        configured(read_environment("prod"), LIST, 35)
    with pytest.raises(CostInputError, match="no GPU nodes"):
        configured(read_environment("dev"), LIST, 1)


def report(tmp_path: Path, latency_ms: float) -> Path:
    """Write the load test's own report of two pods that received 600 requests per minute each."""
    seen = Observations(
        pods=2,
        window_s=60.0,
        sent=1200,
        unsent=0,
        latencies_ms=tuple([latency_ms] * 1200),
        failures={},
        versions={"1": 1200},
        answered_in_window=1200,
        tokens_in_window=60_000,
        lags_ms=tuple([0.5] * 1200),
    )
    plan = LoadTestConfig(
        ArrivalRate(600, "poisson", 1), 5.0, 10.0, SLO(), ("a", "b"), "invented", owned=False, api_key=""
    )
    path = tmp_path / "slo.json"
    path.write_text(
        json.dumps(
            document("http://127.0.0.1:8000", plan, seen, evaluate_slo(seen, SLO()), "2026-11-24T00:00:00Z")
        )
    )
    return path


def test_a_load_test_gives_the_measured_price(tmp_path: Path) -> None:
    rate = measured_rate(report(tmp_path, latency_ms=20.0))
    assert rate.requests_per_minute == 600
    assert rate.tokens_per_s == 500  # 60,000 tokens in 60 s on two pods
    node = cost("list", LIST, {"g5.12xlarge": 1}, rate)
    assert f"{node.per_million_tokens:.4f}" == "0.7878"  # 5.672 / 7.2 million tokens per hour


def test_a_broken_promise_gives_no_price(tmp_path: Path) -> None:
    with pytest.raises(CostInputError, match="did not meet the SLO"):
        measured_rate(report(tmp_path, latency_ms=500.0))


@pytest.mark.parametrize("text", ["{", "{}", '{"scenario": "capacity"}'])
def test_another_file_is_no_report(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(CostInputError, match="is not a report"):
        measured_rate(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[books.x]\ntitle='x'", "books.x.dated"),
        ("[books", "not TOML"),
        (
            "[books.x]\ntitle='x'\ndated=2026-01-01\nsource='y'\nmonth_hours=730\n[books.x.hourly]\n'p4d'='1'",
            "p4d",
        ),
        (
            "[books.x]\ntitle='x'\ndated=2026-01-01\nsource='y'\nmonth_hours=730\n[books.x.hourly]\n'g5.xlarge'='-1'",
            "greater than 0",
        ),
    ],
)
def test_a_price_book_that_is_wrong_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(CostInputError, match=says):
        read_books(path)


def test_the_verb_prints_writes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", str(tmp_path / "cost.json"), "--plot", str(tmp_path / "cost.png")]
    assert main(["cost", "--wanted", "5000", "--book", "list", *files]) == 0
    printed = capsys.readouterr().out
    assert "11 x g5.4xlarge" in printed and "2 x g5.12xlarge + 3 x g5.4xlarge" in printed
    prod, cheap = json.loads((tmp_path / "cost.json").read_text())["costs"]
    # 11 pods: 11 * 1,185.52, and 2 * 4,140.56 + 3 * 1,185.52
    assert (prod["order"], prod["nodes"]) == ("prod", {"g5.4xlarge": 11})
    assert prod["usd_per_month"] == 13040.72
    assert (cheap["order"], cheap["nodes"]) == ("cheapest", {"g5.12xlarge": 2, "g5.4xlarge": 3})
    assert cheap["usd_per_month"] == 11837.68
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_the_verb_reproduces_the_document_and_shows_the_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cost"]) == 0
    told = capsys.readouterr().out
    assert "g5.12xlarge: $3,280.00 in the document, $4,140.56 listed (+26.2%)" in told
    assert "g5.4xlarge: $820.00 in the document, $1,185.52 listed (+44.6%)" in told
    assert "per million tokens $0.1264 and $0.1576" in told


def test_the_verb_names_the_cheapest_node_that_keeps_the_promise_next_to_the_users_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cost"]) == 0
    told = capsys.readouterr().out
    # 0.1785 x 730 = 130.305; 820 / 130.305 = 6.29; 3,280 / 130.305 = 25.17
    assert "c7i.xlarge, no GPU: $130.30 a month" in told
    assert "g5.4xlarge, $820.00 a month, 6.3 times as much" in told
    assert "g5.12xlarge, $3,280.00 a month, 25.2 times as much" in told
    assert "too small for 2 CPUs and 4 GiB next to the daemons: c7i.large" in told


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "node"),
    [(2, 4, "c7i.xlarge"), (2, 8, "m6i.xlarge"), (4, 8, "c7i.2xlarge"), (32, 8, None)],
)
def test_the_cheapest_node_without_a_gpu_has_room_for_the_pod(
    cpus: int, memory_gib: int, node: str | None
) -> None:
    pod = MeasuredPod(cpus, memory_gib, Decimal(6000), "a test")
    assert cheapest_cpu_node(LIST, pod) == node


def test_a_pod_that_is_too_slow_keeps_no_promise() -> None:
    assert verdict(BOOKS, MeasuredPod(2, 4, Decimal(599), "a test")).startswith("no node without a GPU keeps")


def test_a_book_of_discounts_is_based_on_another_one(tmp_path: Path) -> None:
    # 5.672 x 0.5 = 2.836; 1.624 x 0.75 = 1.218
    assert BOOKS["spot"].hour("g5.12xlarge") == Decimal("2.836")
    assert BOOKS["savings"].hour("g5.4xlarge") == Decimal("1.218")
    path = tmp_path / "prices.toml"
    path.write_text(
        "[books.spot]\ntitle='x'\ndated=2026-01-01\nsource='y'\nbased_on='list'\ndiscount='0.5'\n"
    )
    with pytest.raises(CostInputError, match="expected a book with prices"):
        read_books(path)


def test_a_type_that_only_one_book_has_is_planned_with_that_book(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--types", "g5.xlarge", "--wanted", "960"]) == 0
    told = capsys.readouterr().out
    assert "2 x g5.xlarge" in told and "document  " not in told
    assert main(["cost", "--types", "g5.xlarge", "--book", "document"]) == 1
    assert "no price for g5.xlarge" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--book", "reserved"], ["--spare-pods", "-1", "--wanted", "1"]])
def test_options_that_make_no_sense_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", *options]) == 1
    assert capsys.readouterr().err.startswith("error: ")
