"""Benches of speed, memory and growth: ratios within one run, and their charts (`joulebit bench`)."""
