"""What is measured, and against whom: `python -m benchmarks` prints what stands in RESULTS.md."""
