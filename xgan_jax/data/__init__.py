"""Pictures in: drawn data, `prepare`, TFRecords read at random, and the grain pipeline.

places, folders, zips, listing: what people bring, file by file; inputs: read as pictures, for a trained run
sources (layout, labels, celeba, tfds_records), joined: where pictures come from
prepare (domains, splits, records, looks, account, shards, contact_sheet, journal): to records
pipeline, batches, augment: from records
tfrecord, pictures: the formats, for both
synthetic: the embedded faces
"""
