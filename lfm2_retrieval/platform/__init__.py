"""What the machine and the system give: threads, forks, signals, files."""
