"""Compute every metric of an episode in plain Python, from docs/metrics.md only, without code of `rsc.metrics`.

Sums are exact: `math.fsum`, or fractions if terms of a formula cancel. Each figure is one expression of the document.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

NAN = math.nan
EPS = 2.0**-52
Row = dict[str, Any]


@dataclass
class Episode:
    """The inputs of the document's formulas: values of the header, the exported steps, and the exported trades."""

    initial: float
    periods: float
    start_price: float
    start_position: float
    trades_known: bool
    steps: list[Row]
    trades: list[Row]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def std(values: list[float]) -> float:
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def is_noise(deviation: float, values: list[float]) -> bool:
    return not deviation > 64 * EPS * (1 + abs(mean(values)))


def changes(first: float, rest: list[float]) -> list[float]:
    """Return x_t / x_(t-1) - 1, exactly rounded; NaN after a value that is not above zero."""
    before = [first, *rest][: len(rest)]
    return [
        float(Fraction(now) / Fraction(then) - 1) if math.isfinite(now) and math.isfinite(then) and then > 0 else NAN
        for then, now in zip(before, rest, strict=True)
    ]


def metrics_by_the_document(episode: Episode) -> dict[str, float | None]:
    """Return each metric of the document's table by name; None if it is undefined or unknown."""
    found: dict[str, float | None] = {}
    figures = Figures(episode)
    for name, formula in FORMULAS.items():
        try:
            value = formula(figures)
        except (ZeroDivisionError, OverflowError, ValueError, IndexError):
            value = NAN
        found[name] = value if isinstance(value, float | int) and math.isfinite(value) else None
    return found


class Figures:
    """The symbols of the document."""

    def __init__(self, episode: Episode) -> None:
        self.e = episode
        self.steps, self.trades = episode.steps, episode.trades
        self.n, self.P = len(episode.steps), episode.periods
        self.V0, self.V = episode.initial, self.column("portfolio_value")
        self.p, self.q = self.column("price"), self.column("position")
        self.r = changes(self.V0, self.V)
        self.b = changes(episode.start_price, self.p)
        self.a = [r - b for r, b in zip(self.r, self.b, strict=True)]
        self.last = self.V[-1] if self.n else self.V0
        self.f = self.column("fill_price") if self.has("fill_price") else self.p
        self.C = self.column("costs") if self.has("costs") else self.column("fees")
        self.pnls = [trade["pnl"] for trade in self.trades] if episode.trades_known else []
        self.closed_in: dict[int, list[Row]] = {}
        for trade in self.trades:
            self.closed_in.setdefault(trade["exit_step"], []).append(trade)

    def has(self, name: str) -> bool:
        return bool(self.steps) and name in self.steps[0]

    def column(self, name: str) -> list[float]:
        return [step[name] for step in self.steps]

    @property
    def peaks(self) -> list[float]:
        highest, peaks = self.V0, []
        for value in self.V:
            highest = max(highest, value)
            peaks.append(highest)
        return peaks

    def falls(self) -> list[float]:
        if not self.V0 > 0 or any(map(math.isnan, self.V)):
            raise ValueError
        return [(peak - value) / peak for value, peak in zip(self.V, self.peaks, strict=True)]

    def opened(self) -> list[float]:
        if not self.e.trades_known:
            raise ValueError
        before = [self.e.start_position, *self.q][: self.n]
        opened = []
        for t, (was, now) in enumerate(zip(before, self.q, strict=True), 1):
            closed = sum(Fraction(one["quantity"]) * one["direction"] for one in self.closed_in.get(t, ()))
            opened.append(float(Fraction(now) - Fraction(was) + closed))
        return opened

    def traded(self, t: int, opened: float) -> float:
        value = abs(opened) * self.f[t - 1] if opened else 0.0
        return value + sum(one["quantity"] * one["exit_price"] for one in self.closed_in.get(t, ()))

    def exit_costs(self) -> float:
        if not self.n:
            return 0.0 if self.e.start_position == 0 else NAN
        if self.q[-1] == 0:
            return 0.0
        return float(self.steps[-1]["exit_costs"]) if self.has("exit_costs") else NAN

    def open_lots(self) -> list[tuple[float, float]]:
        """Return units and entry price of the lots that are open at the end. A queue gives first in, first out."""
        held = self.q[-1] if self.n else self.e.start_position
        if math.isnan(held):
            raise ValueError
        if held == 0:
            return []
        side = math.copysign(1.0, held)
        start = self.e.start_position
        all_lots = [(abs(start), self.e.start_price)] if start * side > 0 else []
        before = [start, *self.q][: self.n]
        for t, opened in enumerate(self.opened(), 1):
            if opened * side > 1e-9 * (abs(self.q[t - 1]) + abs(before[t - 1])):
                all_lots.append((abs(opened), self.f[t - 1]))
        lots, missing = [], abs(held)
        for units, price in reversed(all_lots):
            lots.append((min(units, missing), price))
            missing -= units
            if missing <= 1e-9 * abs(held):
                return lots
        raise ValueError

    def marked(self) -> float:
        if not self.e.trades_known or any(map(math.isnan, self.pnls)):
            return NAN
        lots = self.open_lots()
        won = sum(pnl > 0 for pnl in self.pnls)
        if lots:
            side, price = math.copysign(1.0, self.q[-1]), self.p[-1]
            open_costs = math.fsum(self.C) - math.fsum(trade["costs"] for trade in self.trades)
            value, size = math.fsum(u * e for u, e in lots), abs(self.q[-1])
            gains = [
                side * u * (price - e) - open_costs * u * e / value - self.exit_costs() * u / size for u, e in lots
            ]
            if any(map(math.isnan, gains)):
                return NAN
            won += sum(gain > 0 for gain in gains)
        return won / (len(self.pnls) + len(lots))

    def longest(self) -> int:
        run = longest = 0
        for fall in self.falls():
            run = run + 1 if fall > 64 * EPS else 0
            longest = max(longest, run)
        return longest

    def power(self, exponent: int) -> float:
        middle = mean(self.r)
        return mean([(r - middle) ** exponent for r in self.r])

    def shape(self, exponent: int) -> float:
        if self.n < 2 or is_noise(std(self.r), self.r):
            return NAN
        return self.power(exponent) / self.power(2) ** (exponent / 2)

    def per_risk(self, values: list[float], risk: float) -> float:
        return NAN if self.n < 2 or is_noise(risk, values) else mean(values) / risk * math.sqrt(self.P)

    def beta(self) -> float:
        if self.n < 2 or is_noise(std(self.b), self.b):
            return NAN
        r, b = mean(self.r), mean(self.b)
        return math.fsum((x - r) * (y - b) for x, y in zip(self.r, self.b, strict=True)) / math.fsum(
            (y - b) ** 2 for y in self.b
        )

    def error(self) -> float:
        if self.n < 20:
            return NAN
        s, g3, g4 = mean(self.r) / std(self.r), self.shape(3), self.shape(4)
        return math.sqrt(self.P * (1 - g3 * s + (g4 - 1) * s**2 / 4) / self.n)

    def value_at_risk(self) -> float:
        if any(map(math.isnan, self.r)):
            return NAN
        ordered, place = sorted(self.r), Fraction(self.n - 1, 20)
        low = int(place)
        return -(ordered[low] + float(place - low) * (ordered[min(low + 1, self.n - 1)] - ordered[low]))

    def expected_shortfall(self) -> float:
        if any(map(math.isnan, self.r)):
            return NAN
        return -mean(sorted(self.r)[: (self.n - 1) // 20 + 1])

    def annual(self) -> float:
        if not self.V0 > 0 or not self.n or self.last < 0 or not self.P > 0:
            return NAN
        return float((self.last / self.V0) ** (self.P / self.n) - 1)

    def drawdown(self) -> float:
        return max(self.falls(), default=0.0)

    def total_return(self) -> float:
        return self.last / self.V0 - 1 if self.V0 > 0 else NAN

    def market(self) -> float:
        return self.p[-1] / self.e.start_price - 1 if self.e.start_price > 0 else NAN

    def of_trades(self, formula: Callable[[list[float]], float]) -> float:
        return formula(self.pnls) if self.pnls and all(map(math.isfinite, self.pnls)) else NAN


def _calmar(x: Figures) -> float:
    return x.annual() / x.drawdown() if x.drawdown() > 64 * EPS else NAN


def _alpha(x: Figures) -> float:
    beta = x.beta()
    each = mean([r - beta * b for r, b in zip(x.r, x.b, strict=True)])
    return float((1 + each) ** x.P - 1) if each >= -1 else NAN


def _turnover(x: Figures) -> float:
    before = [x.V0, *x.V][: x.n]
    traded = [x.traded(t, opened) for t, opened in enumerate(x.opened(), 1)]
    parts = [
        each / value if each and value > 0 else (NAN if each else 0.0)
        for each, value in zip(traded, before, strict=True)
    ]
    return x.P / x.n * math.fsum(parts)


def _holding(x: Figures) -> float:
    if not x.e.trades_known or any(trade["entry_step"] < 0 for trade in x.trades):
        return NAN
    return mean([trade["exit_step"] - trade["entry_step"] for trade in x.trades])


FORMULAS: dict[str, Callable[[Figures], float | int | None]] = {
    "initial_portfolio_value": lambda x: x.V0,
    "final_portfolio_value": lambda x: x.last,
    "pnl": lambda x: x.last - x.V0,
    "unrealized_pnl": lambda x: x.steps[-1]["unrealized_pnl"] if x.n else 0.0,
    "total_return": Figures.total_return,
    "annual_return": Figures.annual,
    "sharpe_ratio": lambda x: x.per_risk(x.r, std(x.r)),
    "sortino_ratio": lambda x: x.per_risk(x.r, math.sqrt(mean([min(r, 0.0) ** 2 for r in x.r]))),
    "calmar_ratio": _calmar,
    "volatility": lambda x: std(x.r) * math.sqrt(x.P),
    "max_drawdown": Figures.drawdown,
    "win_rate": lambda x: x.of_trades(lambda pnls: sum(pnl > 0 for pnl in pnls) / len(pnls)),
    "profit_factor": lambda x: math.fsum(max(pnl, 0) for pnl in x.pnls) / -math.fsum(min(pnl, 0) for pnl in x.pnls),
    "time_in_market": lambda x: sum(q != 0 for q in x.q) / x.n if not any(map(math.isnan, x.q)) else NAN,
    "total_reward": lambda x: math.fsum(x.column("reward")),
    "total_fees": lambda x: math.fsum(x.column("fees")),
    "total_steps": lambda x: x.n,
    "total_trades": lambda x: len(x.trades) if x.e.trades_known else None,
    "sharpe_standard_error": Figures.error,
    "skew": lambda x: x.shape(3),
    "kurtosis": lambda x: x.shape(4) - 3,
    "longest_drawdown_steps": Figures.longest,
    "buy_and_hold_return": Figures.market,
    "excess_return": lambda x: x.total_return() - x.market(),
    "beta": Figures.beta,
    "alpha": _alpha,
    "information_ratio": lambda x: x.per_risk(x.a, std(x.a)),
    "turnover": _turnover,
    "total_costs": lambda x: math.fsum(x.C),
    "liquidation_value": lambda x: x.last - x.exit_costs(),
    "average_trade": lambda x: x.of_trades(mean),
    "best_trade": lambda x: x.of_trades(max),
    "worst_trade": lambda x: x.of_trades(min),
    "average_holding_steps": _holding,
    "value_at_risk": Figures.value_at_risk,
    "expected_shortfall": Figures.expected_shortfall,
    "win_rate_marked": Figures.marked,
}


def episode_of(journal: Any) -> Episode:
    """Return the inputs of the formulas for a journal: values of its header, and the tables of an export."""
    about = journal.header.about
    steps = journal.steps().drop_columns(["trades", "wall_time", "market_time"]).to_pylist()
    trades = journal.trades().drop_columns(["entry_time", "exit_time"]).to_pylist()
    position = about.account.get("position at reset")
    told = [trade for trade in trades if not math.isnan(trade["quantity"])]
    return Episode(
        initial=about.initial_portfolio_value,
        periods=NAN if about.periods_per_year is None else about.periods_per_year,
        start_price=NAN if about.start_price is None else about.start_price,
        start_position=float(position) if isinstance(position, int | float) else 0.0,
        trades_known=about.trades != "unknown" and len(told) == len(trades),
        steps=steps,
        trades=told,
    )
