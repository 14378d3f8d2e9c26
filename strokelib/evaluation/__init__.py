"""Numbers from many scans: the pair of thresholds, tests, agreement; and their text."""
