"""Network policies: which flows may leave, and why."""
