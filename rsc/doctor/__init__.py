"""Check a machine before it trains or reconciles: database, journal root, limits, versions, Ray. Changes nothing."""
