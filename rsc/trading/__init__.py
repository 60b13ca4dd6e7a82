"""The trading environment: market data, account rules, rewards, single and vectorised envs."""
