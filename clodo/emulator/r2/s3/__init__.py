"""The S3-compatible endpoint of R2."""
