"""Changes out: subscriptions are told of changes by signed messages (docs/adr/0225, docs/adr/0226).

A subscription has three places in the feed, its lanes, which do not wait for each other. A chain of messages in a queue
looks for changes about once a second, and tells them in batches.
"""
