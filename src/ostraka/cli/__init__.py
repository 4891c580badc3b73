"""The `ostraka` command."""
