"""Clients side by side: the same work, the same sink, one run. `make bench`.

__main__    makes the environments, runs everything, writes docs/explanation/performance.md
sink        an HTTP server that takes everything, and counts it; slow, stalled or away on demand
client      one process under test: a driver, and a scenario
drivers     what each client calls making, recording, flushing
questions   which scenarios are run with which drivers, and what is looked at
charts      the numbers as SVG
page        the numbers as a page
"""
