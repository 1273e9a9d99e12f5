"""Fine-tuning: from trained weights to one's own classes, by an explicit plan.

Read in this order: settings.py (what can be asked for), strategies.py (settings to plan), plan.py
(what a plan is, and what it does to a network), settling.py (what a particular network makes of
it), then adapters.py and penalties.py. What is left open: facts.py, rule.py, defaults.py and, under
a time budget, budget.py. What frozen parts give, once: features.py, feature_store.py,
feature_cache.py, feature_batches.py; a head solved for on it: probe.py. Beside them: rate_test.py,
and continual.py for a package that learns on.
"""
