"""What every module shares."""
