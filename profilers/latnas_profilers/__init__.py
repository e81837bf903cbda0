"""The profilers that latnas brings along, found by entry points as anyone's would be. One file each."""
