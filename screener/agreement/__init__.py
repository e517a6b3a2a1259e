"""Agreement between the tool's decisions and the readers' verdicts, estimated from an audit log."""
