"""Data sets, their files, augmentation and the order of samples."""
