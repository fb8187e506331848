"""R2, as far as deploying Workers asks for it: buckets."""
