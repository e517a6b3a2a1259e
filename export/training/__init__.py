"""The training loop, its batches and augmentation."""
