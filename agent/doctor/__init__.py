"""What is configured, reachable and downloaded, and whether it fits; also looked at before every run."""
