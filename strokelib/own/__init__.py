"""A scan of your own: read, checked, segmented, measured and reported."""
