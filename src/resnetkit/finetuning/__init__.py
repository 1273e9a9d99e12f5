"""Fine-tuning: from trained weights to one's own classes, by an explicit plan.

Read in this order: settings.py (what can be asked for), strategies.py (settings to plan), plan.py
(what a plan is, and what it does to a network), then adapters.py and penalties.py.
"""
