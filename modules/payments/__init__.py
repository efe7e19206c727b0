"""On-chain module: payments with particulars, and value that is promised before it is paid."""
