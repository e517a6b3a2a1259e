"""What changes over time at a site, read from the audit log, with alarms that stay valid however often one looks."""
