"""What a service declares about its records: fields, lifecycle, clocks, calendars."""
