"""Programs that judge the repository: lint, stages, inventories, parity, fuzzing, benchmarks."""
