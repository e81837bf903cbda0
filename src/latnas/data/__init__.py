"""Labelled images in memory: data sets, splits, batches, augmentation."""
