"""Coverage-guided fuzzing of every parser, and of the TCP and DNS services in process.

A target is a plain function `check(data: bytes) -> None` that raises when an invariant
does not hold; it knows nothing of the fuzzer. `engine` runs one of them under atheris,
`run` runs them one after the other, and `make test` replays what was kept, without atheris.
`docs/fuzzing.md` says what each target asserts.
"""
