"""Labelled images, in memory or read when needed: data sets, splits, batches, augmentation."""
