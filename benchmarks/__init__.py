"""How fast the hot paths are beside what bounds them: `./benchmarks/run`, explained in docs/benchmarks.md."""
