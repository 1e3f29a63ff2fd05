"""A stride and its curves → the metrics of ``docs/metrics.md``: channels, curves, readings, intervals, zones."""
