"""The learning loop: rounds of m-PDO, on a ledger of what has been done and paid for."""
