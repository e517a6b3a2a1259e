"""Many machines: an archive in shards of whole studies, proven workers, one audit log."""
