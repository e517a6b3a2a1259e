"""Show findings. Nothing here changes one."""
