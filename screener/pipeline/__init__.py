"""From bytes to findings: one slice, one study, one scan."""
