"""Pictures in: drawn data, `prepare`, TFRecords read at random, and the grain pipeline."""
