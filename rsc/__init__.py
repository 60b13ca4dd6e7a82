"""Record trading episodes in journals that survive kill -9, and train on a trading environment.

The names in `__all__` are the public API; docs/reference.md lists them, and two names of sub-packages. Each is imported
at its first use, so `import rsc` imports neither Ray nor gymnasium.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from journal import Trade
    from rsc.exporting.parts import Exported, ExportError
    from rsc.exporting.runs import export_run
    from rsc.loading.episodes import LoadedEpisode
    from rsc.loading.runs import LoadedRun, load_run
    from rsc.recording.accounts import Account, AccountError, before, since_last
    from rsc.recording.recorder import Recorder
    from rsc.recording.vector import VectorRecorder
    from rsc.rllib.attach import attach
    from rsc.runs import start_run
    from rsc.trading.config import TradingConfig
    from rsc.trading.env import TradingEnv
    from rsc.trading.market import Market, load_market, market_from_frame
    from rsc.trading.prices import MarketError
    from rsc.trading.rewards import StepOutcome
    from rsc.trading.vector_env import TradingVectorEnv

_MODULE_OF = {
    "Account": "rsc.recording.accounts",
    "AccountError": "rsc.recording.accounts",
    "ExportError": "rsc.exporting.parts",
    "Exported": "rsc.exporting.parts",
    "LoadedEpisode": "rsc.loading.episodes",
    "LoadedRun": "rsc.loading.runs",
    "Market": "rsc.trading.market",
    "MarketError": "rsc.trading.prices",
    "Recorder": "rsc.recording.recorder",
    "StepOutcome": "rsc.trading.rewards",
    "Trade": "journal",
    "TradingConfig": "rsc.trading.config",
    "TradingEnv": "rsc.trading.env",
    "TradingVectorEnv": "rsc.trading.vector_env",
    "VectorRecorder": "rsc.recording.vector",
    "attach": "rsc.rllib.attach",
    "before": "rsc.recording.accounts",
    "export_run": "rsc.exporting.runs",
    "load_market": "rsc.trading.market",
    "load_run": "rsc.loading.runs",
    "market_from_frame": "rsc.trading.market",
    "since_last": "rsc.recording.accounts",
    "start_run": "rsc.runs",
}

__all__ = [
    "Account",
    "AccountError",
    "ExportError",
    "Exported",
    "LoadedEpisode",
    "LoadedRun",
    "Market",
    "MarketError",
    "Recorder",
    "StepOutcome",
    "Trade",
    "TradingConfig",
    "TradingEnv",
    "TradingVectorEnv",
    "VectorRecorder",
    "__version__",
    "attach",
    "before",
    "export_run",
    "load_market",
    "load_run",
    "market_from_frame",
    "since_last",
    "start_run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # slow to import, and rarely asked for

        return version("reinforce-strategy-creator")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'rsc' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
