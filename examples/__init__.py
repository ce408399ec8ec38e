"""Programs that use Millstream, to read and to run.

quickstart.py   ten lines: record two events and learn what became of them
shop            a small web shop, as a back-end developer would instrument one
demo            the shop, its traffic and a collector, and a count of every event at both ends (`make demo`)
"""
