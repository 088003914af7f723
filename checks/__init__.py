"""Programs that check the repository: lint, stages, inventories, parity, fuzzing, benchmarks."""
