"""Write a page about runs: what was learned, what was rescued, every episode with its charts."""
