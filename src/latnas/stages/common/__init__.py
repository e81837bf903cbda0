"""What stages share: run folders, finding tables, matching data to spaces, limits, estimates of time."""
