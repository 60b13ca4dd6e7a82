"""Run `rsc check` under its former name: `python scripts/check_episode_details.py RUN_ID`."""

import sys

from journal.console import run_main
from rsc.cli.check import command

sys.argv[0] = "check_episode_details.py"
run_main(command)
