"""R2 in snapshots: an index of a bucket's objects, and packs that hold what is in them."""
