"""What stages share: run folders, finding tables, matching data to spaces, measuring on the device of a table."""
