"""What every module's tests inherit: walks through its records that nobody wrote down."""
