"""What the numbers mean to a lender: audits of aggregates, reasons with their codes."""
