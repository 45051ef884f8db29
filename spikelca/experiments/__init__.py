"""The paper, computed: Table I, its figures, and the benchmark against peers."""
