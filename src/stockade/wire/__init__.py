"""Sans-IO parsers for bytes that come from inside a devbox."""
