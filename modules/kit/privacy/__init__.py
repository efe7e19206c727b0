"""Personal data: sealed for each person, and gone when the person's key is."""
