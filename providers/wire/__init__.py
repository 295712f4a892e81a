"""What the adapters share about wires: reading foreign values, turning foreign statuses into our errors, checking URLs."""
