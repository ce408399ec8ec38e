"""A shop, its traffic and a collector on this machine, and a count of every event at both ends.

python -m examples.demo          (or: make demo)

children    the collector and the shop, as processes that are stopped whatever happens
traffic     visitors of different kinds, who send real HTTP requests
audit       what the shop recorded against what the collector has on disk
table       the audit, for people
"""
