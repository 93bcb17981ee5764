"""How fast it is, always as ratios to references measured in the same run.

Add a measurement: write a function that takes `quick` and gives `Result`s, and list it in `MEASUREMENTS` of
`tests/benchmarks/__main__.py`.
"""
