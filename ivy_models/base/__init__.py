"""What every layer may use: checked fields, files that are replaced whole, lazy exports."""
